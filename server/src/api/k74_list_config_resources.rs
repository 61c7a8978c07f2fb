//! ListConfigResources: what has settings (KIP-1142).

use std::rc::Rc;

use corelane_core::metadata::ConfigResourceKind;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::list_config_resources_response::ConfigResource;
use corelane_core::protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

/// The kinds that can be asked for.
const KINDS: [ConfigResourceKind; 5] = [
    ConfigResourceKind::TOPIC,
    ConfigResourceKind::BROKER,
    ConfigResourceKind::BROKER_LOGGER,
    ConfigResourceKind::CLIENT_METRICS,
    ConfigResourceKind::GROUP,
];
/// First version that lists anything but client metrics.
const VERSION_WITH_KINDS: i16 = 1;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ListConfigResourcesRequest = request.decode()?;
    let wanted: Vec<ConfigResourceKind> = if request.version < VERSION_WITH_KINDS {
        vec![ConfigResourceKind::CLIENT_METRICS]
    } else if asked.resource_types.is_empty() {
        KINDS.to_vec()
    } else {
        asked.resource_types.iter().map(|number| ConfigResourceKind(*number)).collect()
    };
    if wanted.iter().any(|kind| !KINDS.contains(kind)) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        return request.answer(&ListConfigResourcesResponse { error_code, ..Default::default() });
    }
    let catalog = shard.catalog();
    let mut config_resources = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| wanted.contains(kind)) {
        let mut list = |name: &str| {
            config_resources.push(ConfigResource { resource_name: name.to_owned().into(), resource_type: kind.0 });
        };
        match kind {
            ConfigResourceKind::TOPIC => catalog.topics().for_each(|topic| list(&topic.image.name)),
            ConfigResourceKind::BROKER | ConfigResourceKind::BROKER_LOGGER => {
                list(&shard.view(request.origin).this_broker().to_string());
            }
            kind => {
                let set = catalog.image.other_configs().keys();
                set.filter(|resource| resource.kind == kind).for_each(|resource| list(&resource.name));
            }
        }
    }
    request.answer(&ListConfigResourcesResponse { config_resources, ..Default::default() })
}
