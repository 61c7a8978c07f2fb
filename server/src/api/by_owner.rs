//! A request taken apart by the shards that own its partitions, and put together again.

use std::collections::BTreeMap;
use std::future::Future;

use corelane_core::base::ShardId;
use corelane_core::protocol::ErrorCode;

use crate::local::all_of;

/// What to ask of each owner, and where in the answer each result goes.
pub(super) struct ByOwner<P, T> {
    owners: BTreeMap<ShardId, (Vec<P>, Vec<T>)>,
}

impl<P, T> ByOwner<P, T> {
    pub(super) fn new() -> Self {
        Self { owners: BTreeMap::new() }
    }

    /// Notes that `owner` is to be asked for `item`, whose result goes to `place`.
    pub(super) fn add(&mut self, owner: ShardId, place: P, item: T) {
        let (places, items) = self.owners.entry(owner).or_default();
        places.push(place);
        items.push(item);
    }

    /// The same where there may be nobody to ask here: the error of `route`, or none if a result will come.
    pub(super) fn add_routed(&mut self, route: Result<ShardId, ErrorCode>, place: P, item: T) -> ErrorCode {
        match route {
            Ok(owner) => {
                self.add(owner, place, item);
                ErrorCode::NONE
            }
            Err(error) => error,
        }
    }

    /// Who is to be asked.
    pub(super) fn owners(&self) -> impl Iterator<Item = ShardId> {
        self.owners.keys().copied()
    }

    /// Asks every owner once, all at the same time, for one result an item. The first poll of each question happens in
    /// the order of the shards, before this waits for any.
    pub(super) async fn ask<R, F: Future<Output = Vec<R>>>(self, ask: impl Fn(ShardId, Vec<T>) -> F) -> Vec<(P, R)> {
        let (mut places, mut questions) = (Vec::new(), Vec::new());
        for (owner, (of_owner, items)) in self.owners {
            places.push(of_owner);
            questions.push(ask(owner, items));
        }
        let results = all_of(questions).await;
        places.into_iter().zip(results).flat_map(|(places, results)| places.into_iter().zip(results)).collect()
    }
}
