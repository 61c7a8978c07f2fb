//! DescribeClientQuotas: which quotas are set. None can be yet, so none are; the question is still checked.

use std::collections::BTreeSet;
use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

const ENTITY_TYPES: [&str; 3] = ["user", "client-id", "ip"];
/// By name, the default, any.
const MATCH_TYPES: std::ops::RangeInclusive<i8> = 0..=2;
const EXACT: i8 = 0;

pub(super) fn serve<S: Sys>(_shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeClientQuotasRequest = request.decode()?;
    let (error, message) = match fault(&asked) {
        Some((error, message)) => (error, Some(message)),
        None => (ErrorCode::NONE, None),
    };
    request.answer(&DescribeClientQuotasResponse {
        error_code: error.0,
        entries: message.is_none().then(Vec::new),
        error_message: message.map(Into::into),
        ..Default::default()
    })
}

fn fault(asked: &DescribeClientQuotasRequest) -> Option<(ErrorCode, String)> {
    let mut seen = BTreeSet::new();
    asked.components.iter().find_map(|component| {
        let kind = &*component.entity_type;
        if !ENTITY_TYPES.contains(&kind) {
            let known = ENTITY_TYPES.join(", ");
            return Some((ErrorCode::UNSUPPORTED_VERSION, format!("{kind:?} has no quotas; {known} may have")));
        }
        let wrong = if !seen.insert(kind) {
            format!("{kind} is named more than once")
        } else if !MATCH_TYPES.contains(&component.match_type) {
            format!("{} is no way to match {kind} (0 by name, 1 the default, 2 any)", component.match_type)
        } else if (component.match_type == EXACT) != component.r#match.is_some() {
            format!("{kind} is matched by a name, and only then has one")
        } else {
            return None;
        };
        Some((ErrorCode::INVALID_REQUEST, wrong))
    })
}
