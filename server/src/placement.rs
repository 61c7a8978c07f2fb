//! Which shard serves a connection.
//!
//! A new connection goes to the shard that has the fewest. One that keeps asking for partitions of one other shard alone
//! moves there, so that its requests no longer wake two shards where one would do. It moves between two requests: when the
//! next one has come and everything before it is answered and handed to the socket. So nothing is in progress, and what
//! keeps the order of a connection's requests, the shard that begins them, is replaced at a moment when there are none. A
//! client that always has an earlier request unanswered when the next one comes is not moved: that is load, and two shards
//! bear more of it.
//!
//! With the connection go what was received of the next requests and its fetch session. Shard 0, which counts the
//! connections of each shard, hands it over as it did the first time. What is on that way was never begun, so nothing of it
//! is acknowledged or in a log: a kill there is a connection that broke before its request was served, and so is a stop.
//!
//! A shard that is busy takes none over, and one that is overloaded gives one a second to a shard that is not busy.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use corelane_core::base::{Monotonic, ShardId};
use corelane_core::limits::{BUSY_PERMILLE, LOAD_WINDOW_MS, MOVE_AFTER_QUESTIONS, OVERLOADED_PERMILLE};
use corelane_core::session::ReleasedSession;

use crate::hop::Origin;
use crate::shard::SessionKey;
use crate::sys::Sys;

/// A connection on its way to the shard that is to serve it.
pub struct Handover<S: Sys> {
    pub(crate) socket: S::Socket,
    pub(crate) origin: Origin,
    /// What was received of requests that are not begun, and when the last of it came.
    pub(crate) received: BytesMut,
    pub(crate) received_at: Monotonic,
    /// The fetch session that it used last.
    pub(crate) session: Option<ReleasedSession<SessionKey>>,
}

impl<S: Sys> Handover<S> {
    /// One that nobody has served yet.
    pub(crate) fn new(socket: S::Socket, origin: Origin, now: Monotonic) -> Self {
        Self { socket, origin, received: BytesMut::new(), received_at: now, session: None }
    }
}

/// Whom one connection asks.
#[derive(Default)]
pub(crate) struct Errands {
    /// The shard that alone was asked the last so many times.
    only: Cell<Option<(ShardId, u32)>>,
}

impl Errands {
    /// A question went to these shards.
    pub(crate) fn note(&self, owners: impl IntoIterator<Item = ShardId>) {
        let mut owners = owners.into_iter();
        let Some(first) = owners.next() else { return };
        self.only.set(match (owners.next(), self.only.get()) {
            (Some(_), _) => None,
            (None, Some((only, times))) if only == first => Some((only, times.saturating_add(1))),
            (None, _) => Some((first, 1)),
        });
    }

    /// The shard that would rather serve it.
    fn destination(&self) -> Option<ShardId> {
        self.only.get().filter(|(_, times)| *times >= MOVE_AFTER_QUESTIONS).map(|(only, _)| only)
    }
}

/// What a shard knows of itself and the others that decides where connections are served.
pub(crate) struct Placement {
    own: ShardId,
    /// Connections move at all.
    is_on: bool,
    /// Of each shard whether it is busy, as it said last.
    busy: RefCell<Vec<bool>>,
    /// Since when this shard looks how busy it is, and the CPU time that it had used by then.
    since: Cell<(Monotonic, u64)>,
    /// The next connection that can goes there.
    relief: Cell<Option<ShardId>>,
    moved: Cell<u64>,
}

impl Placement {
    pub(crate) fn new(own: ShardId, shards: u16, is_on: bool, now: Monotonic) -> Self {
        Self {
            own,
            is_on: is_on && shards > 1,
            busy: RefCell::new(vec![false; shards.into()]),
            since: Cell::new((now, 0)),
            relief: Cell::new(None),
            moved: Cell::new(0),
        }
    }

    /// Where a connection with nothing in progress moves, if it does.
    pub(crate) fn destination(&self, errands: &Errands) -> Option<ShardId> {
        if !self.is_on {
            return None;
        }
        let wanted = errands.destination().filter(|to| *to != self.own && !self.is_busy(*to));
        wanted.or_else(|| self.relief.get())
    }

    /// A connection leaves this shard.
    pub(crate) fn leaves(&self) {
        self.relief.set(None);
        self.moved.set(self.moved.get() + 1);
    }

    /// Connections that this shard has given away.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.get()
    }

    /// A shard says whether it is busy.
    pub(crate) fn heard(&self, shard: ShardId, is_busy: bool) {
        if let Some(busy) = self.busy.borrow_mut().get_mut(usize::from(shard.0)) {
            *busy = is_busy;
        }
    }

    fn is_busy(&self, shard: ShardId) -> bool {
        self.busy.borrow().get(usize::from(shard.0)).copied().unwrap_or(true)
    }

    /// Looks how busy this shard is, if it is time to; `used_ns` is the CPU time that it has used so far. Gives what is to be
    /// said to the others, if that has changed.
    pub(crate) fn look(&self, now: Monotonic, used_ns: impl FnOnce() -> u64) -> Option<bool> {
        let (since, used_before_ns) = self.since.get();
        let elapsed_ns = now.since_ns(since);
        if !self.is_on || elapsed_ns < LOAD_WINDOW_MS * 1_000_000 {
            return None;
        }
        let used_ns = used_ns();
        self.since.set((now, used_ns));
        let permille = used_ns.saturating_sub(used_before_ns).saturating_mul(1_000) / elapsed_ns;
        let is_busy = permille >= BUSY_PERMILLE;
        let was_busy = self.is_busy(self.own);
        self.heard(self.own, is_busy);
        let idle =
            || (0..).map(ShardId).zip(&*self.busy.borrow()).find(|(_, is_busy)| !**is_busy).map(|(idle, _)| idle);
        self.relief.set(if permille >= OVERLOADED_PERMILLE { idle() } else { None });
        (is_busy != was_busy).then_some(is_busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ShardId = ShardId(0);
    const OTHER: ShardId = ShardId(1);
    const THIRD: ShardId = ShardId(2);

    fn placement() -> Placement {
        Placement::new(OWN, 3, true, Monotonic(0))
    }

    fn asking(owner: ShardId, times: u32) -> Errands {
        let errands = Errands::default();
        (0..times).for_each(|_| errands.note([owner]));
        errands
    }

    /// Has a second pass, of which so many thousandths were used.
    fn pass(placement: &Placement, permille: u64) -> Option<bool> {
        let (since, used_ns) = placement.since.get();
        placement.look(since.plus_ms(LOAD_WINDOW_MS), || used_ns + permille * LOAD_WINDOW_MS * 1_000)
    }

    #[test]
    fn who_asks_one_other_shard_alone_moves_there() {
        let placement = placement();
        assert_eq!(placement.destination(&asking(OTHER, MOVE_AFTER_QUESTIONS)), Some(OTHER));
        assert_eq!(placement.destination(&asking(OTHER, MOVE_AFTER_QUESTIONS - 1)), None);
        assert_eq!(placement.destination(&asking(OWN, MOVE_AFTER_QUESTIONS)), None, "it is there");
    }

    #[test]
    fn a_question_for_others_begins_the_count_anew_and_one_for_nobody_does_not() {
        let placement = placement();
        for between in [&[OTHER, THIRD][..], &[THIRD]] {
            let errands = asking(OTHER, MOVE_AFTER_QUESTIONS);
            errands.note(between.iter().copied());
            (1..MOVE_AFTER_QUESTIONS).for_each(|_| errands.note([OTHER]));
            assert_eq!(placement.destination(&errands), None, "{between:?}");
            errands.note([]);
            errands.note([OTHER]);
            assert_eq!(placement.destination(&errands), Some(OTHER), "{between:?}");
        }
    }

    #[test]
    fn nobody_moves_where_it_is_switched_off_or_there_is_one_shard_or_the_other_is_busy() {
        let errands = asking(OTHER, MOVE_AFTER_QUESTIONS);
        assert_eq!(Placement::new(OWN, 3, false, Monotonic(0)).destination(&errands), None);
        assert_eq!(Placement::new(OWN, 1, true, Monotonic(0)).destination(&errands), None);
        let placement = placement();
        placement.heard(OTHER, true);
        assert_eq!(placement.destination(&errands), None);
        placement.heard(OTHER, false);
        assert_eq!(placement.destination(&errands), Some(OTHER));
    }

    #[test]
    fn a_shard_says_when_it_becomes_busy_and_when_it_no_longer_is() {
        let placement = placement();
        assert_eq!(placement.look(Monotonic(0).plus_ms(LOAD_WINDOW_MS - 1), || unreachable!("it is too early")), None);
        assert_eq!(pass(&placement, BUSY_PERMILLE - 1), None);
        assert_eq!(pass(&placement, BUSY_PERMILLE), Some(true));
        assert_eq!(pass(&placement, 1_000), None);
        assert_eq!(pass(&placement, 0), Some(false));
    }

    #[test]
    fn an_overloaded_shard_gives_one_connection_a_second_to_one_that_is_not_busy() {
        let placement = placement();
        placement.heard(OTHER, true);
        let staying = asking(OWN, 1);
        pass(&placement, OVERLOADED_PERMILLE - 1);
        assert_eq!(placement.destination(&staying), None);
        pass(&placement, OVERLOADED_PERMILLE);
        assert_eq!(placement.destination(&staying), Some(THIRD));
        placement.leaves();
        assert_eq!(placement.destination(&staying), None, "one");
        placement.heard(THIRD, true);
        pass(&placement, OVERLOADED_PERMILLE);
        assert_eq!(placement.destination(&staying), None, "nobody has time");
        assert_eq!(placement.moved(), 1);
    }
}
