//! Features: what this software can run, and finalizing levels (KIP-584).
//!
//! Clients change their ways by what is finalized. A feature is supported from the level on that acts here.

use super::broker::{METADATA_VERSION, METADATA_VERSION_LEVEL};
use super::image::{MetadataImage, SupportedFeature};
use super::records::MetadataRecord;
use super::refusal::{Refusal, RefusalKind};
use super::topics::Decision;

/// Name of the feature that says how transactions are done.
pub const TRANSACTION_VERSION: &str = "transaction.version";

/// Its highest level: partitions are added as they are written to, and each end raises the producer's epoch (KIP-890).
pub const TRANSACTION_VERSION_LEVEL: i16 = 2;

/// Name of the feature that says which protocols groups speak.
pub const GROUP_VERSION: &str = "group.version";

/// Its highest level: the consumer protocol (KIP-848).
pub const GROUP_VERSION_LEVEL: i16 = 1;

/// Levels that this software can run.
#[must_use]
pub fn supported_features() -> Vec<SupportedFeature> {
    let feature = |name: &str, min_level, max_level| SupportedFeature { name: name.to_owned(), min_level, max_level };
    vec![
        feature(GROUP_VERSION, 0, GROUP_VERSION_LEVEL),
        feature("kraft.version", 0, 1),
        feature(METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_LEVEL),
        feature(TRANSACTION_VERSION, 0, TRANSACTION_VERSION_LEVEL),
    ]
}

/// What a level is changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Only upwards.
    Upgrade,
    /// Downwards, if nothing is lost by it.
    SafeDowngrade,
    /// Downwards, whatever is lost by it.
    UnsafeDowngrade,
    /// No such type.
    Unknown,
}

impl UpgradeType {
    /// By the number that UpdateFeatures carries.
    #[must_use]
    pub const fn from_number(number: i8) -> Self {
        match number {
            1 => Self::Upgrade,
            2 => Self::SafeDowngrade,
            3 => Self::UnsafeDowngrade,
            _ => Self::Unknown,
        }
    }
}

/// A level that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature.
    pub name: String,
    /// Its new level; 0 takes it away.
    pub level: i16,
    /// In which direction it may go.
    pub upgrade_type: UpgradeType,
}

/// Decides on levels; all of them change, or none.
#[must_use]
pub fn update_features(image: &MetadataImage, updates: &[FeatureUpdate]) -> Decision<Result<(), Refusal>> {
    let refusals: Vec<Option<String>> = updates.iter().map(|update| refusal(image, update)).collect();
    if refusals.iter().all(Option::is_none) {
        let changed = updates.iter().filter(|update| image.feature_level(&update.name) != update.level);
        let record =
            |update: &FeatureUpdate| MetadataRecord::FeatureLevel { name: update.name.clone(), level: update.level };
        return Decision { records: changed.map(record).collect(), answers: vec![Ok(()); updates.len()] };
    }
    let not_tried = || "Not changed, because another update of the request was refused.".to_owned();
    let refused =
        |why: Option<String>| Err(Refusal::new(RefusalKind::InvalidUpdateVersion, why.unwrap_or_else(not_tried)));
    Decision { records: Vec::new(), answers: refusals.into_iter().map(refused).collect() }
}

/// Why a feature cannot have that level; `None` if it can.
fn refusal(image: &MetadataImage, update: &FeatureUpdate) -> Option<String> {
    let FeatureUpdate { name, level, upgrade_type } = update;
    let current = image.feature_level(name);
    let refused = |why: String| Some(format!("Invalid update version {level} for feature {name}. {why}"));
    if *upgrade_type == UpgradeType::Unknown {
        return refused("The upgrade type is unknown.".to_owned());
    }
    if *level < 0 {
        return refused("A level cannot be less than 0.".to_owned());
    }
    if *level == current {
        return None;
    }
    if *level < current && *upgrade_type == UpgradeType::Upgrade {
        return refused(format!("It is at {current}; going down takes a safe or an unsafe downgrade."));
    }
    if *level > current && *upgrade_type != UpgradeType::Upgrade {
        return refused(format!("It is at {current}; going up takes an upgrade."));
    }
    let Some(feature) = supported_features().into_iter().find(|feature| feature.name == *name) else {
        return refused("This broker does not support this feature.".to_owned());
    };
    let may_change = [TRANSACTION_VERSION, GROUP_VERSION].contains(&name.as_str());
    if !may_change || !(feature.min_level..=feature.max_level).contains(level) {
        let (min, max) = (feature.min_level, feature.max_level);
        return refused(format!("This broker supports {min} to {max} and is at {current}."));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, level: i16, upgrade_type: i8) -> FeatureUpdate {
        FeatureUpdate { name: name.to_owned(), level, upgrade_type: UpgradeType::from_number(upgrade_type) }
    }

    #[test]
    fn a_level_goes_up_and_down_as_it_is_asked_for() {
        let features = std::sync::Arc::new([(TRANSACTION_VERSION.to_owned(), 1)].into());
        let mut image = MetadataImage::default();
        image.features = features;
        let level = |update: FeatureUpdate| {
            let Decision { records, answers } = update_features(&image, std::slice::from_ref(&update));
            let level = records.first().map(|record| match record {
                MetadataRecord::FeatureLevel { level, .. } => *level,
                other => panic!("{other:?}"),
            });
            answers[0].clone().map(|()| level)
        };
        assert_eq!(level(asked(TRANSACTION_VERSION, 2, 1)), Ok(Some(2)));
        assert_eq!(level(asked(TRANSACTION_VERSION, 1, 1)), Ok(None));
        assert_eq!(level(asked(TRANSACTION_VERSION, 0, 2)), Ok(Some(0)));
        assert_eq!(level(asked(TRANSACTION_VERSION, 0, 3)), Ok(Some(0)));
        for wrong in [
            asked(TRANSACTION_VERSION, 0, 1),
            asked(TRANSACTION_VERSION, 2, 2),
            asked(TRANSACTION_VERSION, 3, 1),
            asked(TRANSACTION_VERSION, -1, 3),
            asked(TRANSACTION_VERSION, 2, 0),
            asked(METADATA_VERSION, 29, 1),
            asked("kraft.version", 1, 1),
            asked("sharp.version", 1, 1),
        ] {
            assert!(level(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn one_that_is_refused_stands_in_the_way_of_all() {
        let image = MetadataImage::default();
        let Decision { records, answers } =
            update_features(&image, &[asked(TRANSACTION_VERSION, 2, 1), asked("sharp.version", 1, 1)]);
        assert!(records.is_empty() && answers.iter().all(Result::is_err));
    }
}
