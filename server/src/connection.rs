//! One client connection: frames in, requests served, answers out in order.
//!
//! Only Produce and Fetch overlap. Any other request waits until everything before it is answered and holds up what
//! comes after it, because Kafka serves one request at a time and clients may rely on it. Overlapping requests are
//! begun in the order in which they came: each handler is polled once, here, before the next frame is looked at, and
//! by then a Produce has taken its places in the queues of its partitions or in the rings that lead to them.
//!
//! Between two requests a connection may move to another shard: see [`placement`](crate::placement).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use corelane_core::base::{Monotonic, ShardId};
use corelane_core::limits::{
    BUDGET_WAIT_MS_MAX, EXACT_RECEIVE_BYTES_MIN, FRAME_BYTES_PER_MS_MIN, FRAME_LOOK_MS, FRAME_PART_BYTES,
    FRAME_WAIT_MS, TASK_BUDGET_US,
};
use corelane_core::protocol::ApiKey;
use corelane_core::protocol::wire::{Frame, next_frame};

use crate::answers::{Answer, Answers};
use crate::api::{self, Request};
use crate::budget::Reservation;
use crate::hop::{Mail, Origin};
use crate::local::{Either, first_of};
use crate::placement::{Errands, Handover};
use crate::shard::Shard;
use crate::stages::Stage;
use crate::sys::Sys;
use crate::topology::CONTROLLER_SHARD;

/// What ended a connection, or its time on this shard.
enum End<S: Sys> {
    /// The peer closed it, or it broke.
    Peer,
    /// We closed it; the text says why, for the log.
    Ours(String),
    /// It goes on, on another shard.
    Moves(ShardId, Box<Handover<S>>),
}

/// The client's side of a connection.
#[derive(Default)]
pub(crate) struct Peer {
    has_ended: Cell<bool>,
    /// Who waits for the end, by number; as many as there are requests in progress, for each takes itself out.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    next: Cell<u64>,
    /// Which shards its requests ask.
    pub(crate) errands: Errands,
    /// The fetch session that it used last; 0 is none.
    pub(crate) fetch_session: Cell<i32>,
}

impl Peer {
    /// Whether it has closed the connection, or said that it sends no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Resolves when it does.
    pub(crate) fn ended(&self) -> PeerEnds<'_> {
        let number = self.next.replace(self.next.get() + 1);
        PeerEnds { peer: self, number }
    }

    fn end(&self) {
        self.has_ended.set(true);
        self.waiting.take().into_values().for_each(Waker::wake);
    }
}

/// See [`Peer::ended`].
pub(crate) struct PeerEnds<'a> {
    peer: &'a Peer,
    number: u64,
}

impl Future for PeerEnds<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.peer.has_ended() {
            return Poll::Ready(());
        }
        self.peer.waiting.borrow_mut().insert(self.number, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for PeerEnds<'_> {
    fn drop(&mut self) {
        self.peer.waiting.borrow_mut().remove(&self.number);
    }
}

/// Serves a connection that shard 0 hands to this shard, until it ends or moves on.
pub(crate) fn adopt<S: Sys>(shard: &Rc<Shard<S>>, handover: Handover<S>) {
    let this = Rc::clone(shard);
    shard.sys.spawn("connection", async move {
        let Handover { socket, origin, received, received_at, session } = handover;
        let mut moves = None;
        match this.sys.adopt(socket) {
            Ok(connection) => {
                let answers = Answers::new(this.sys.clone(), Rc::clone(&this.stages), connection.clone());
                let number = this.connection_begins(&answers);
                if let Some(session) = session {
                    this.sessions.borrow_mut().adopt(session, this.sys.now());
                }
                if !this.stopping.get() {
                    moves = serve(&this, connection, answers, origin, (received, received_at)).await;
                }
                this.connection_ends(number);
            }
            Err(error) => tracing::warn!(%error, "connection could not be taken over"),
        }
        match moves {
            Some((to, handover)) if this.sys.shard() == CONTROLLER_SHARD => {
                this.connection_moves(CONTROLLER_SHARD, to, handover);
            }
            Some((to, handover)) => this.hop.post(CONTROLLER_SHARD, Mail::Moves(to, handover)).await,
            None if this.sys.shard() == CONTROLLER_SHARD => this.connection_ended_on(CONTROLLER_SHARD),
            None => this.hop.post(CONTROLLER_SHARD, Mail::Ended).await,
        }
    });
}

/// Serves a connection until it ends, or is to move to the shard that this gives.
async fn serve<S: Sys>(
    shard: &Rc<Shard<S>>,
    connection: S::Connection,
    answers: Rc<Answers<S>>,
    origin: Origin,
    received: (BytesMut, Monotonic),
) -> Option<(ShardId, Box<Handover<S>>)> {
    let peer = Rc::new(Peer::default());
    let end = read_frames(shard, &connection, &answers, (origin, &peer), received).await;
    shard.gathering.write();
    let why = match end {
        End::Moves(to, handover) => {
            answers.leave();
            return Some((to, handover));
        }
        End::Peer => None,
        End::Ours(why) => Some(why),
    };
    // What waits for records answers now: to nobody, or to a client that has said all and still listens.
    peer.end();
    // Requests in progress run to their end, so that what they began is completed; their answers go nowhere.
    answers.all_sent().await;
    answers.close();
    if let Some(why) = why {
        tracing::info!(%why, "connection closed");
    }
    None
}

/// The shard where a connection is served better, and the connection for it, if nothing is in progress here.
fn released<S: Sys>(
    shard: &Shard<S>,
    connection: &S::Connection,
    answers: &Answers<S>,
    (origin, peer): (Origin, &Peer),
) -> Option<(ShardId, S::Socket)> {
    let to = shard.placement.destination(&peer.errands)?;
    // On a core-direct listener the client has chosen.
    if !answers.is_idle() || shard.settings.config.is_core_direct(origin.listener) || shard.stopping.get() {
        return None;
    }
    Some((to, shard.sys.release(connection)?))
}

async fn read_frames<S: Sys>(
    shard: &Rc<Shard<S>>,
    connection: &S::Connection,
    answers: &Rc<Answers<S>>,
    (origin, peer): (Origin, &Rc<Peer>),
    (mut buffer, mut received_at): (BytesMut, Monotonic),
) -> End<S> {
    let frame_bytes_max = shard.settings.request_bytes_max();
    let mut reservation = None;
    let mut reserved_at = shard.sys.now();
    let mut breathed = shard.sys.now();
    loop {
        let missing = loop {
            let now = shard.sys.now();
            if now.since_ns(breathed) > TASK_BUDGET_US * 1_000 {
                // A client that sends without a pause must not keep the shard from everybody else.
                breathed = now;
                shard.gathering.write();
                answers.flush().await;
                shard.sys.breathe().await;
            }
            match next_frame(&mut buffer, frame_bytes_max) {
                Ok(Frame::Complete(frame)) => {
                    let is_more_at_hand = !buffer.is_empty() || shard.sys.holds_more(connection);
                    let arrived = Arrived { frame, at: received_at, reservation: reservation.take(), is_more_at_hand };
                    if let Err(why) = handle_frame(shard, answers, (origin, peer), arrived).await {
                        return End::Ours(why);
                    }
                    if answers.is_closed() {
                        return End::Peer;
                    }
                }
                Ok(Frame::Incomplete { missing_bytes }) => break missing_bytes,
                Err(error) => return End::Ours(error.to_string()),
            }
        };
        let must_wait = missing >= EXACT_RECEIVE_BYTES_MIN && reservation.is_none() && !shard.budget.has_room(missing);
        if must_wait || answers.has_ready() || !shard.sys.holds_more(connection) {
            shard.gathering.write();
        }
        if shard.has_woken_readers.take() && answers.has_ready() {
            // What was appended goes to those who wait for it first: they are behind this send otherwise, and behind the
            // producer that it wakes. The answers keep their order in their line.
            shard.sys.breathe().await;
        }
        answers.flush().await;
        if missing >= EXACT_RECEIVE_BYTES_MIN && reservation.is_none() {
            let reserve = shard.budget.reserve(missing);
            let deadline = shard.sys.sleep_until(shard.sys.now().plus_ms(BUDGET_WAIT_MS_MAX));
            match first_of(reserve, deadline).await {
                Either::First(reserved) => reservation = Some(reserved),
                Either::Second(()) => return End::Ours(format!("no memory for a frame of {missing} bytes in time")),
            }
            reserved_at = shard.sys.now();
        }
        let missing = make_room(&mut buffer, missing, &shard.copied_bytes);
        let came_bytes = buffer.len() as u64;
        let receive = shard.sys.receive(connection, std::mem::take(&mut buffer), missing);
        let received = if reservation.is_some() {
            let due = reserved_at.plus_ms(FRAME_WAIT_MS + came_bytes / FRAME_BYTES_PER_MS_MIN);
            while_nobody_waits(shard, receive, due).await
        } else {
            Some(receive.await)
        };
        let Some((received, filled)) = received else {
            return End::Ours("a large frame came too slowly while others waited for its memory".to_owned());
        };
        buffer = filled;
        received_at = shard.sys.now();
        if !matches!(received, Ok(bytes) if bytes > 0) || answers.is_closed() {
            return End::Peer;
        }
        if reservation.is_none()
            && let Some((to, socket)) = released(shard, connection, answers, (origin, peer))
        {
            shard.placement.leaves();
            let session = shard.sessions.borrow_mut().release(peer.fetch_session.get());
            return End::Moves(to, Box::new(Handover { socket, origin, received: buffer, received_at, session }));
        }
    }
}

/// Makes room for what is missing of a frame, or for the next part of it: memory follows what has come, not what was
/// announced. Returns how much of it may be received now, and counts what was moved.
fn make_room(buffer: &mut BytesMut, missing: usize, copied_bytes: &Cell<u64>) -> usize {
    if missing < EXACT_RECEIVE_BYTES_MIN {
        // It passes through the shard's buffer, so that a silent connection holds none.
        return missing;
    }
    let spare = buffer.capacity() - buffer.len();
    if spare < missing && (missing <= FRAME_PART_BYTES || spare < EXACT_RECEIVE_BYTES_MIN) {
        copied_bytes.set(copied_bytes.get() + buffer.len() as u64);
        // Of what follows only addresses are taken: the system gives a page when something comes to lie on it.
        let is_proven = buffer.len() >= FRAME_PART_BYTES;
        buffer.reserve(if is_proven { missing } else { missing.min(FRAME_PART_BYTES) });
    }
    missing.min(buffer.capacity() - buffer.len())
}

/// What a receive comes to; `None` if it is not complete at `due` and others wait for the memory that it holds.
async fn while_nobody_waits<S: Sys, T>(
    shard: &Shard<S>,
    receive: impl Future<Output = T>,
    due: Monotonic,
) -> Option<T> {
    let mut receive = pin!(receive);
    loop {
        let now = shard.sys.now();
        if now >= due && shard.budget.is_awaited() {
            return None;
        }
        let look_again = due.max(now.plus_ms(FRAME_LOOK_MS));
        if let Either::First(received) = first_of(receive.as_mut(), shard.sys.sleep_until(look_again)).await {
            return Some(received);
        }
    }
}

/// A frame, when its last byte came, and what was reserved for it.
struct Arrived {
    frame: Bytes,
    at: Monotonic,
    reservation: Option<Reservation>,
    /// What follows it has come too, at least in part.
    is_more_at_hand: bool,
}

/// Begins to serve one request. `Err` says why the connection must end.
async fn handle_frame<S: Sys>(
    shard: &Rc<Shard<S>>,
    answers: &Rc<Answers<S>>,
    (origin, peer): (Origin, &Rc<Peer>),
    arrived: Arrived,
) -> Result<(), String> {
    let Arrived { frame, at: received, reservation, is_more_at_hand } = arrived;
    let is_large = frame.len() >= EXACT_RECEIVE_BYTES_MIN;
    let request = Request::parse(frame, origin, peer)?;
    let overlaps = matches!(request.key, ApiKey::Produce | ApiKey::Fetch);
    if !overlaps || !answers.has_room() || !shard.hop.has_room() {
        shard.gathering.write();
        // Nobody else may be there to make room.
        answers.flush().await;
    }
    if !overlaps {
        answers.all_sent().await;
    }
    answers.room().await;
    shard.hop.room().await;
    if answers.is_closed() {
        return Ok(());
    }

    let begun = shard.sys.now();
    shard.stages.add(Stage::Socket, received, begun);
    let place = answers.place(received);
    let mut handler: Pin<Box<dyn Future<Output = Answer<S::File>>>> = Box::pin(api::serve(Rc::clone(shard), request));
    if !overlaps {
        let answer = handler.await;
        drop(reservation);
        answers.fill(place, answer);
        return Ok(());
    }
    shard.gathering.set(is_more_at_hand);
    let first_poll = std::future::poll_fn(|context| Poll::Ready(handler.as_mut().poll(context))).await;
    shard.gathering.set(false);
    if !is_more_at_hand || shard.gathering.is_full() {
        shard.gathering.write();
    }
    shard.stages.add(Stage::Parse, begun, shard.sys.now());
    match first_poll {
        Poll::Ready(answer) => answers.fill(place, answer),
        Poll::Pending => {
            let answers = Rc::clone(answers);
            shard.sys.spawn("request", async move {
                let answer = handler.await;
                drop(reservation);
                answers.fill(place, answer);
                if is_large {
                    answers.flush().await;
                } else {
                    answers.flush_together().await;
                }
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_end_is_woken_by_it_and_who_has_gone_is_forgotten() {
        let peer = Peer::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = pin!(peer.ended());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        for _ in 0..10 {
            assert!(pin!(peer.ended()).poll(&mut context).is_pending());
        }
        assert_eq!(peer.waiting.borrow().len(), 1);
        peer.end();
        assert!(waits.as_mut().poll(&mut context).is_ready());
        assert!(pin!(peer.ended()).poll(&mut context).is_ready());
    }
}
