//! UpdateFeatures: finalized levels.

use std::rc::Rc;

use corelane_core::metadata::{Decision, FeatureUpdate, Refusal, UpgradeType, update_features};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::update_features_response::UpdatableFeatureResult;
use corelane_core::protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::{Request, Served};
use crate::controller::{Command, Outcome};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version that says what a level is changed for; before, whether it may go down.
const VERSION_WITH_UPGRADE_TYPE: i16 = 1;
/// First version that answers for the request as a whole.
const VERSION_WITHOUT_RESULTS: i16 = 2;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: UpdateFeaturesRequest = request.decode()?;
    let updates = asked.feature_updates.iter().map(|update| FeatureUpdate {
        name: update.feature.to_string(),
        level: update.max_version_level,
        upgrade_type: match update.allow_downgrade {
            true if request.version < VERSION_WITH_UPGRADE_TYPE => UpgradeType::SafeDowngrade,
            _ => UpgradeType::from_number(update.upgrade_type),
        },
    });
    let updates: Vec<FeatureUpdate> = updates.collect();
    let answers = if asked.validate_only {
        let Decision { answers, .. } = update_features(&shard.catalog().image, &updates);
        answers
    } else {
        match shard.control(Command::UpdateFeatures(updates)).await {
            Outcome::Features(answers) => answers,
            Outcome::Failed(why) => {
                return request.answer(&UpdateFeaturesResponse {
                    error_code: ErrorCode::FEATURE_UPDATE_FAILED.0,
                    error_message: Some(why.into()),
                    ..Default::default()
                });
            }
            _ => unreachable!("an outcome has the name of its command"),
        }
    };
    let code = |refusal: Option<&Refusal>| refusal.map_or(ErrorCode::NONE.0, |refusal| refusal.kind.code());
    let refusals: Vec<Option<Refusal>> = answers.into_iter().map(Result::err).collect();
    if request.version >= VERSION_WITHOUT_RESULTS {
        let first = refusals.into_iter().flatten().next();
        return request.answer(&UpdateFeaturesResponse {
            error_code: code(first.as_ref()),
            error_message: first.map(|refusal| refusal.message.into()),
            ..Default::default()
        });
    }
    let results = asked.feature_updates.iter().zip(refusals).map(|(update, refusal)| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: code(refusal.as_ref()),
        error_message: refusal.map(|refusal| refusal.message.into()),
    });
    request.answer(&UpdateFeaturesResponse { results: results.collect(), ..Default::default() })
}
