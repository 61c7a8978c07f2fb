//! Partitions that are written to for the first time: they wait here while their id changes, and then become one change.

use std::collections::BTreeSet;

use super::coordinator::{Then, TransactionCoordinator};
use super::message::{Answer, ProducerIdAndEpoch, TopicPartition, TransactionVersion};
use super::state::TransactionState;
use crate::base::Monotonic;
use crate::coordinator::{Now, RequestId};
use crate::limits::TRANSACTION_CLAIMS_MAX;
use crate::protocol::{ErrorCode, KafkaString};

/// A partition that somebody writes to, which waits until it can take part.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) request: RequestId,
    pub(super) producer: ProducerIdAndEpoch,
    pub(super) partition: TopicPartition,
    pub(super) give_up: Monotonic,
}

impl TransactionCoordinator {
    pub(super) fn claim(&mut self, now: Now, key: &KafkaString, claim: Claim) {
        let refused = match self.entries.get_mut(key) {
            _ if key.is_empty() => ErrorCode::INVALID_REQUEST,
            _ if self.claims.len() >= TRANSACTION_CLAIMS_MAX => ErrorCode::CONCURRENT_TRANSACTIONS,
            Some(entry) if entry.settled.is_some() => {
                let key = KafkaString::copied(key);
                self.claims.insert((claim.give_up, claim.request), key.clone());
                entry.claims.push(claim);
                return self.settle_claims(now, &key);
            }
            _ => ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        };
        self.answer(claim.request, Answer::ClaimPartition(Err(refused)));
    }

    /// Unless an id is changing or its transaction is being ended, the partitions that wait take part: all in one change.
    pub(super) fn settle_claims(&mut self, now: Now, key: &KafkaString) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.is_changing) else { return };
        let Some(current) = entry.settled.as_ref().filter(|settled| settled.state.decided().is_none()) else { return };
        let (mut added, mut requests, mut answers) = (BTreeSet::new(), Vec::new(), Vec::new());
        for Claim { request, producer, partition, give_up } in std::mem::take(&mut entry.claims) {
            self.claims.remove(&(give_up, request));
            match current.check(producer) {
                Ok(()) if current.state == TransactionState::Ongoing && current.partitions.contains(&partition) => {
                    answers.push((request, Ok(())));
                }
                Ok(()) => {
                    added.insert(partition);
                    requests.push(request);
                }
                Err(code) => answers.push((request, Err(code))),
            }
        }
        let next = current.with_partitions(&added, TransactionVersion::V2, now.wall);
        if !requests.is_empty()
            && let Err(code) = self.change(now, key, next, Then::Claimed(requests.clone()))
        {
            answers.extend(requests.into_iter().map(|request| (request, Err(code))));
        }
        for (request, answer) in answers {
            self.answer(request, Answer::ClaimPartition(answer));
        }
    }
}
