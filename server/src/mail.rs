//! What arrives at a shard from the others, and where it goes.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::connection;
use crate::hop::{Call, Mail};
use crate::shard::Shard;
use crate::sys::Sys;

/// Serves the messages of other shards, for ever. Appends that come one after the other are written together.
pub(crate) async fn deliver<S: Sys>(shard: Rc<Shard<S>>) {
    loop {
        if !shard.sys.holds_mail() || shard.gathering.is_full() {
            shard.gathering.write();
        }
        let (from, mail) = shard.sys.mail().await;
        match mail {
            Mail::Adopt(handover) => connection::adopt(&shard, *handover),
            Mail::Moves(to, handover) => shard.connection_moves(from, to, handover),
            Mail::Ended => shard.connection_ended_on(from),
            Mail::Busy(is_busy) => shard.placement.heard(from, is_busy),
            Mail::Reply(ticket, reply) => shard.hop.replied(ticket, reply),
            Mail::Notice(watch) => shard.hop.noticed(from, watch),
            Mail::Unwatch(watch) => shard.unwatch(from, watch),
            Mail::Exit => shard.end(),
            Mail::Call(ticket, call) => {
                let this = Rc::clone(&shard);
                let is_append = matches!(call, Call::Append(_));
                let mut answered = Box::pin(async move {
                    let reply = this.perform(from, call).await;
                    this.hop.post(from, Mail::Reply(ticket, reply)).await;
                });
                // Begun in the order of arrival; what cannot be finished at once goes on as a task.
                shard.gathering.set(is_append && shard.sys.holds_mail());
                let is_pending = answered.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
                shard.gathering.set(false);
                if is_pending {
                    shard.sys.spawn("call", answered);
                }
            }
        }
    }
}
