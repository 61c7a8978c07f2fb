//! Batches that would begin a transaction here: they wait beside the queue until the coordinator of their transactional id
//! has said that this partition takes part (KIP-890), so that nobody else's batches wait with them.
//!
//! Order: what comes later of the same producer waits behind them, and all of it goes into the queue at once, in the order
//! in which it came. The machine looks once more when it admits them: a transaction that has ended meanwhile does not begin
//! again.
//!
//! What commits offsets in a transaction asks before its coordinator hears of it ([`PartitionLog::make_sure_of`]): the batch that
//! comes of it is not held here.
//!
//! Bounds: what waits is one of the batches in progress, as in the queue; the coordinator answers each question.
//!
//! A batch here is in the row *queued* of [`append`](super::append): not acknowledged, seen by nobody, gone with a crash.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use corelane_core::base::{ProducerEpoch, ProducerId};
use corelane_core::coordinator::Claim;
use corelane_core::protocol::ErrorCode;
use corelane_core::record::BatchHeader;

use super::append::{AppendError, AppendResult, Incoming, Queued};
use super::{PartitionKey, PartitionLog};
use crate::sys::Sys;

/// Asks the coordinator of a claim whether it holds for a partition; the shard knows how.
pub(crate) type AskCoordinator =
    Rc<dyn Fn(Claim, PartitionKey) -> Pin<Box<dyn Future<Output = Result<(), ErrorCode>>>>>;

/// The batches of a partition that wait for a coordinator, by their producers.
#[derive(Default)]
pub(super) struct Claims(RefCell<BTreeMap<(ProducerId, ProducerEpoch), VecDeque<Queued>>>);

impl<S: Sys> PartitionLog<S> {
    /// As [`append`](Self::append), for a batch that may take part in a transaction.
    pub(crate) fn append_claimed(
        self: &Rc<Self>,
        batch: Incoming,
        claim: Option<Claim>,
    ) -> impl Future<Output = AppendResult> + use<S> {
        let (queued, result) = self.queued(batch);
        match claim {
            Some(claim) if self.must_wait(&queued, &claim) => self.hold(claim, queued),
            _ => self.enqueue(queued),
        }
        result.take()
    }

    /// Has the coordinator of a claim say that a transaction may begin here, unless it is open or the coordinator has said so.
    pub(crate) async fn make_sure_of(&self, claim: Claim) -> Result<(), ErrorCode> {
        let Claim { producer, epoch, adds, .. } = claim;
        if !self.machine.borrow().must_verify_producer(producer, epoch, adds) {
            return Ok(());
        }
        self.ask(claim).await?;
        self.machine.borrow_mut().verify(producer, epoch);
        Ok(())
    }

    fn must_wait(&self, queued: &Queued, claim: &Claim) -> bool {
        let is_behind = self.claims.0.borrow().contains_key(&(claim.producer, claim.epoch));
        let begins = |header: BatchHeader| self.machine.borrow().must_verify(&header, claim.adds);
        is_behind || queued.header().is_some_and(begins)
    }

    fn hold(self: &Rc<Self>, claim: Claim, queued: Queued) {
        let producer = (claim.producer, claim.epoch);
        if let Some(header) = queued.header() {
            self.machine.borrow_mut().await_verification(&header, claim.adds);
        }
        let is_first = {
            let mut claims = self.claims.0.borrow_mut();
            let waiting = claims.entry(producer).or_default();
            waiting.push_back(queued);
            waiting.len() == 1
        };
        if is_first {
            self.sys.spawn("claim", Rc::clone(self).settle_claim(claim));
        }
    }

    /// What the coordinator says, in the words of those who write: they know to begin anew with a newer epoch, but would take
    /// PRODUCER_FENCED for the end.
    async fn ask(&self, claim: Claim) -> Result<(), ErrorCode> {
        let answer = (self.ask_coordinator)(claim, self.key).await;
        answer.map_err(|code| match code {
            ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
            code => code,
        })
    }

    async fn settle_claim(self: Rc<Self>, claim: Claim) {
        let Claim { producer, epoch, .. } = claim;
        let answer = self.ask(claim).await;
        let waiting = self.claims.0.borrow_mut().remove(&(producer, epoch)).unwrap_or_default();
        match answer {
            Ok(()) => {
                self.machine.borrow_mut().verify(producer, epoch);
                waiting.into_iter().for_each(|queued| self.enqueue(queued));
            }
            Err(code) => {
                let error =
                    AppendError::new(code, format!("{} does not take part in the transaction: {code}", self.name));
                waiting.into_iter().for_each(|queued| queued.refuse(error.clone()));
            }
        }
    }
}
