//! DescribeAcls: who may do what. There is no authorizer yet, and that is the answer.

use corelane_core::protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::{Request, Served, acls};
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(request: &Request) -> Served<S> {
    let _: DescribeAclsRequest = request.decode()?;
    let (error_code, error_message) = acls::refusal(acls::NOTHING_TO_TELL);
    request.answer(&DescribeAclsResponse { error_code, error_message, ..Default::default() })
}
