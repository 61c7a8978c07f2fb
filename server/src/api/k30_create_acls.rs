//! CreateAcls: allows and denies. There is no authorizer yet, so each is refused.

use corelane_core::protocol::messages::create_acls_response::AclCreationResult;
use corelane_core::protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::{Request, Served, acls};
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(request: &Request) -> Served<S> {
    let CreateAclsRequest { creations } = request.decode()?;
    let (error_code, error_message) = acls::refusal(acls::NOTHING_TO_CHANGE);
    let refused = AclCreationResult { error_code, error_message };
    request.answer(&CreateAclsResponse { results: vec![refused; creations.len()], ..Default::default() })
}
