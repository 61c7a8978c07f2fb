//! UnregisterBroker: takes a broker that is gone for good off the cluster's list. Here there is one, and it is not gone.

use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let UnregisterBrokerRequest { broker_id, .. } = request.decode()?;
    let (error, message) = if shard.view(request.origin).node(broker_id) == shard.settings.config.node_id.0 {
        (ErrorCode::INVALID_REQUEST, format!("broker {broker_id} runs, and is all there is of this cluster"))
    } else {
        (ErrorCode::BROKER_ID_NOT_REGISTERED, format!("Broker ID {broker_id} is not currently registered"))
    };
    request.answer(&UnregisterBrokerResponse {
        error_code: error.0,
        error_message: Some(message.into()),
        ..Default::default()
    })
}
