//! UpdateFeatures: finalized levels. Each feature that acts has one level here, so a request can only ask for what is.

use std::rc::Rc;

use corelane_core::metadata::{MetadataImage, supported_features};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::update_features_request::FeatureUpdateKey;
use corelane_core::protocol::messages::update_features_response::UpdatableFeatureResult;
use corelane_core::protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

/// Upgrade, safe downgrade, unsafe downgrade.
const UPGRADE_TYPES: std::ops::RangeInclusive<i8> = 1..=3;
const UPGRADE: i8 = 1;
/// First version that answers for the request as a whole.
const VERSION_WITHOUT_RESULTS: i16 = 2;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: UpdateFeaturesRequest = request.decode()?;
    let catalog = shard.catalog();
    let refusals: Vec<Option<String>> =
        asked.feature_updates.iter().map(|update| refusal(&catalog.image, update)).collect();
    let code = |refused: bool| if refused { ErrorCode::INVALID_UPDATE_VERSION.0 } else { ErrorCode::NONE.0 };
    if request.version >= VERSION_WITHOUT_RESULTS {
        let first = refusals.into_iter().flatten().next();
        return request.answer(&UpdateFeaturesResponse {
            error_code: code(first.is_some()),
            error_message: first.map(Into::into),
            ..Default::default()
        });
    }
    let results = asked.feature_updates.iter().zip(refusals).map(|(update, refusal)| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: code(refusal.is_some()),
        error_message: refusal.map(Into::into),
    });
    request.answer(&UpdateFeaturesResponse { results: results.collect(), ..Default::default() })
}

/// Why a feature cannot have that level; `None` if it has.
fn refusal(image: &MetadataImage, update: &FeatureUpdateKey) -> Option<String> {
    let (name, level) = (&*update.feature, update.max_version_level);
    let current = image.feature_level(name);
    let refused = |why: String| Some(format!("Invalid update version {level} for feature {name}. {why}"));
    if !UPGRADE_TYPES.contains(&update.upgrade_type) {
        return refused("The upgrade type is unknown.".to_owned());
    }
    if level < 0 {
        return refused("A level cannot be less than 0.".to_owned());
    }
    if level == current {
        return None;
    }
    if level < current && update.upgrade_type == UPGRADE {
        return refused(format!("It is at {current}; going down takes a safe or an unsafe downgrade."));
    }
    match supported_features().iter().find(|feature| feature.name == name) {
        Some(feature) => {
            refused(format!("This broker supports {} to {} and is at {current}.", feature.min_level, feature.max_level))
        }
        None => refused("This broker does not support this feature.".to_owned()),
    }
}
