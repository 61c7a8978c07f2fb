//! Many groups at once, at the level of the protocol: members that join, roll and leave, and read nothing.
//!
//! Each member is a thread with a connection of its own, as a consumer is a process with one. A classic group is stable when
//! all its members have an assignment of one and the same generation and that generation has them all; one of the consumer
//! protocol, when all are in the same epoch and have all partitions between them, each as many as the others.

mod consumer_member;
pub(crate) mod link;
mod member;

use std::cell::Cell;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use consumer_member::ConsumerMember;
use corelane_core::protocol::messages::MetadataRequest;
use corelane_core::protocol::messages::metadata_request::MetadataRequestTopic;
use link::Link;
use member::{Member, Order, Shown};

/// Stack of a member's thread.
const STACK_BYTES: usize = 128 * 1024;
const CLIENT_ID: &str = "corelane-perf";
const METADATA_VERSION: i16 = 9;
/// How often the groups are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What to put on.
#[derive(Clone, Debug)]
pub struct GroupLoad {
    /// A broker, `host:port`.
    pub address: String,
    /// Groups.
    pub groups: usize,
    /// Members of each.
    pub members: usize,
    /// Names of groups begin with it.
    pub prefix: String,
    /// `session.timeout.ms` of the members.
    pub session_timeout_ms: i32,
    /// `heartbeat.interval.ms` of the members: the longest that one takes to hear of a rebalance.
    pub heartbeat_interval: Duration,
    /// Topic that the members read, in the consumer protocol (KIP-848), where the broker sets session and heartbeats;
    /// without one they speak the classic protocol, and hold no partitions.
    pub topic: Option<String>,
    /// Time that each phase may take.
    pub patience: Duration,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct GroupReport {
    /// From when all members, which were connected by then, began to join until every group was stable.
    pub joined: Duration,
    /// From when one member of each group left and came back until every group was stable again.
    pub rolled: Duration,
    /// A rolling restart: in each group one member after another leaves and comes back, the next when the one before is a
    /// member again. From the first one's leaving until every group was stable.
    pub restarted: Duration,
    /// The part of it from when the last one was back: time to stable after a rolling restart.
    pub settled: Duration,
    /// From when all members were told to leave until the last one's leave was answered.
    pub left: Duration,
    /// Requests in all.
    pub requests: u64,
}

/// Puts the load on. `stable` is called when all groups are, before anybody rolls.
///
/// # Errors
/// A member lost its connection or was refused for good, or a phase took longer than it may.
pub fn run(load: &GroupLoad, stable: impl FnOnce()) -> io::Result<GroupReport> {
    let names: Vec<String> = (0..load.groups).map(|group| format!("{}{group}", load.prefix)).collect();
    let shown: Vec<Vec<Shown>> =
        names.iter().map(|_| std::iter::repeat_with(Shown::default).take(load.members).collect()).collect();
    let partitions = load.topic.as_deref().map(|topic| partitions_of(&load.address, topic)).transpose()?;
    let is_stable = |group: &[Shown]| is_stable(group, partitions);
    let requests = AtomicU64::new(0);
    let failure = Mutex::new(None);
    // One after another, before anything is timed: a broker resets some of thousands that are opened at once.
    let mut lives: Vec<Vec<Life<'_>>> = Vec::new();
    for (name, shown) in names.iter().zip(&shown) {
        let of_group = shown.iter().enumerate();
        lives.push(
            of_group
                .map(|(number, shown)| connect(load, (name, number), shown, &requests))
                .collect::<Result<_, _>>()?,
        );
    }
    thread::scope(|scope| {
        let mut orders: Vec<Vec<Sender<Order>>> = Vec::new();
        let begun = Instant::now();
        for of_group in lives {
            let mut orders_of_group = Vec::new();
            for life in of_group {
                let (sender, receiver) = channel();
                let failure = &failure;
                let live = move || {
                    if let Err(error) = life(&receiver) {
                        failure.lock().expect("nobody panics with it").get_or_insert(error);
                    }
                };
                thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, live)?;
                orders_of_group.push(sender);
            }
            orders.push(orders_of_group);
        }
        let wait = |what: &str, is_done: &dyn Fn() -> bool| -> io::Result<Duration> {
            let begun = Instant::now();
            while !is_done() {
                if let Some(error) = failure.lock().expect("nobody panics with it").take() {
                    return Err(error);
                }
                if begun.elapsed() > load.patience {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("not everybody {what} in time")));
                }
                thread::sleep(LOOK_INTERVAL);
            }
            Ok(begun.elapsed())
        };
        wait("joined", &|| shown.iter().all(|group| is_stable(group)))?;
        let joined = begun.elapsed();
        stable();

        let generations: Vec<i32> = shown.iter().map(|group| generation(group)).collect();
        for group in &orders {
            order(&group[..1], Order::ComeBack);
        }
        let again = |(group, before): (&Vec<Shown>, &i32)| is_stable(group) && generation(group) > *before;
        let rolled = wait("came back", &|| shown.iter().zip(&generations).all(again))?;

        let restarting = Instant::now();
        let restarts: Vec<Restart<'_>> =
            shown.iter().zip(&orders).map(|(shown, orders)| Restart::of(shown, orders)).collect();
        // Each goes on, also when another has not come to its end.
        wait("was restarted", &|| restarts.iter().filter(|restart| !restart.go_on()).count() == 0)?;
        let settled = wait("settled after the restart", &|| shown.iter().all(|group| is_stable(group)))?;
        let restarted = restarting.elapsed();

        let leaving = Instant::now();
        for group in &orders {
            order(group, Order::Leave);
        }
        drop(orders);
        let left = Duration::ZERO;
        Ok((GroupReport { joined, rolled, restarted, settled, left, requests: 0 }, leaving))
    })
    .and_then(|(report, leaving)| {
        let left = leaving.elapsed();
        match failure.into_inner().expect("nobody panics with it") {
            Some(error) => Err(error),
            None => Ok(GroupReport { left, requests: requests.load(Ordering::Relaxed), ..report }),
        }
    })
}

/// What a member does once it is connected.
type Life<'a> = Box<dyn FnOnce(&Receiver<Order>) -> io::Result<()> + Send + 'a>;

/// Connects member `number` of group `name` to its coordinator.
fn connect<'a>(
    load: &'a GroupLoad,
    (name, number): (&str, usize),
    shown: &'a Shown,
    requests: &'a AtomicU64,
) -> io::Result<Life<'a>> {
    Ok(match load.topic.as_deref() {
        None => {
            let member = Member::connect(load, name, shown, requests)?;
            Box::new(|orders| member.run(orders))
        }
        Some(topic) => {
            let member = ConsumerMember::connect(load, (name, number), topic, shown, requests)?;
            Box::new(|orders| member.run(orders))
        }
    })
}

/// The rolling restart of one group.
struct Restart<'a> {
    shown: &'a [Shown],
    orders: &'a [Sender<Order>],
    /// How often each had come back before.
    returns: Vec<u32>,
    /// How many were told to.
    told: Cell<usize>,
}

impl<'a> Restart<'a> {
    fn of(shown: &'a [Shown], orders: &'a [Sender<Order>]) -> Self {
        let returns = shown.iter().map(|member| member.returns.load(Ordering::Acquire)).collect();
        Self { shown, orders, returns, told: Cell::new(0) }
    }

    /// Tells the next member if the one before is back; whether all are.
    fn go_on(&self) -> bool {
        let told = self.told.get();
        let is_back = |member: usize| self.shown[member].returns.load(Ordering::Acquire) > self.returns[member];
        if told > 0 && !is_back(told - 1) {
            return false;
        }
        if told == self.orders.len() {
            return true;
        }
        order(&self.orders[told..=told], Order::ComeBack);
        self.told.set(told + 1);
        false
    }
}

/// Whoever has ended needs no order: what ended it is told elsewhere.
fn order(members: &[Sender<Order>], order: Order) {
    for member in members {
        let _ = member.send(order);
    }
}

fn generation(group: &[Shown]) -> i32 {
    group.first().map_or(-1, |member| member.generation.load(Ordering::Acquire))
}

/// Whether a group is stable; `partitions` are those that its members share in the consumer protocol.
fn is_stable(group: &[Shown], partitions: Option<usize>) -> bool {
    let first = generation(group);
    let same = group.iter().all(|member| member.generation.load(Ordering::Acquire) == first);
    let sizes = group.iter().map(|member| usize::try_from(member.size.load(Ordering::Acquire)).unwrap_or(0));
    let sizes: Vec<usize> = sizes.collect();
    let (most, least) = (sizes.iter().max().copied().unwrap_or(0), sizes.iter().min().copied().unwrap_or(0));
    let is_whole = match partitions {
        None => most == group.len(),
        // Also before the others have their share one member has everything.
        Some(partitions) => sizes.iter().sum::<usize>() == partitions && most <= least + 1,
    };
    first >= 0 && same && is_whole
}

/// How many partitions a topic has.
fn partitions_of(address: &str, topic: &str) -> io::Result<usize> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(topic.to_owned().into()), ..Default::default() }]),
        ..Default::default()
    };
    let answer = Link::open(address, CLIENT_ID)?.call(METADATA_VERSION, &request)?;
    match answer.topics.first() {
        Some(found) if found.error_code == 0 => Ok(found.partitions.len()),
        _ => Err(io::Error::other(format!("there is no topic {topic}; create it first"))),
    }
}
