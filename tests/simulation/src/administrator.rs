//! A client that makes a topic, lets it grow, deletes it and makes it anew under its name, again and again.

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, create_partitions_request, delete_topics_request,
};

use crate::producer::Producer;
use crate::promises::Durability;
use crate::random::Random;
use crate::reading::{describe, fetch, values};
use crate::workload::{Clients, Plan, REFUSALS_MAX, TopicPlan, Way};

/// The topic that comes and goes.
const NAME: &str = "changing";
const DELETE_TOPICS_VERSION: i16 = 6;
const CREATE_PARTITIONS_VERSION: i16 = 3;
/// Batches that each of its partitions gets in each of its lives.
const BATCHES: usize = 2;
/// Wait for records that must be there.
const FETCH_WAIT_MS: i32 = 1;

/// The client.
pub(crate) struct Administrator {
    pub(crate) clients: Clients,
    pub(crate) random: Random,
    pub(crate) seed: u64,
    pub(crate) disk_fails: bool,
    pub(crate) refusals: u32,
}

impl Administrator {
    /// So many lives of the topic; the last one is left.
    pub(crate) async fn run(mut self, plan: &Plan) {
        for life in 1..=plan.changes {
            let durability = if self.random.chance(500) { Durability::Strict } else { Durability::Plain };
            let topic = TopicPlan { name: NAME, partitions: 1, durability, configs: Vec::new() };
            if !self.clients.create(&topic, self.disk_fails).await {
                return;
            }
            self.produce(plan, life, 0).await;
            for count in 2..=i32::try_from(self.random.between(1, 3)).expect("is small") {
                if !self.grow(count).await {
                    return;
                }
                self.produce(plan, life, count - 1).await;
            }
            self.look().await;
            if life < plan.changes && !self.delete().await {
                return;
            }
        }
    }

    async fn produce(&mut self, plan: &Plan, life: usize, index: i32) {
        let way = [Way::All, Way::Idempotent][self.random.index(2)];
        let producer = Producer {
            clients: self.clients.clone(),
            random: Random::new(self.seed, &format!("life {life} of {index}")),
            partition: (NAME, index),
            way,
            name: format!("a{life}.{index}"),
            disk_fails: self.disk_fails,
            refusals: 0,
        };
        producer.run(&Plan { batches: BATCHES, pause_ms_max: 0, ..plan.clone() }).await;
    }

    /// Shows itself the beginning of the first partition, which must not be that of an earlier life.
    async fn look(&mut self) {
        let mut session = self.clients.connect().await;
        let Ok(part) = fetch(&mut session.link, (NAME, 0), 0, FETCH_WAIT_MS).await else { return };
        let mut promises = self.clients.promises.borrow_mut();
        if part.error_code != 0 {
            return;
        }
        match values(&part, 0) {
            Ok(values) => {
                for (offset, value) in (0..).zip(values) {
                    promises.shown((NAME, 0), offset, value, session.incarnation);
                }
            }
            Err(_) if promises.may_be_damaged((NAME, 0)) => {}
            Err(fault) => promises.violation(format!("{NAME}-0: {fault}")),
        }
    }

    async fn grow(&mut self, count: i32) -> bool {
        let request = CreatePartitionsRequest {
            topics: vec![create_partitions_request::CreatePartitionsTopic {
                name: NAME.into(),
                count,
                assignments: None,
            }],
            timeout_ms: 10_000,
            validate_only: false,
        };
        self.clients.promises.borrow_mut().growing(NAME, count);
        loop {
            let mut session = self.clients.connect().await;
            let Ok(response) = session.link.call(CREATE_PARTITIONS_VERSION, &request).await else { continue };
            let result = &response.results[0];
            match ErrorCode(result.error_code) {
                code if code.is_none() => break,
                // Done for the process before, which did not come to say so.
                ErrorCode::INVALID_PARTITIONS => {
                    let Ok(topics) = describe(&mut session.link).await else { continue };
                    if topics.get(NAME).is_some_and(|(_, partitions)| *partitions == count) {
                        break;
                    }
                    let what = format!("{NAME} has not {count} partitions: {:?}", result.error_message);
                    self.clients.promises.borrow_mut().violation(what);
                    return false;
                }
                code => {
                    if !self.may_try_again("grow", code).await {
                        return false;
                    }
                }
            }
        }
        self.clients.promises.borrow_mut().grown(NAME, count);
        true
    }

    async fn delete(&mut self) -> bool {
        let topic = delete_topics_request::DeleteTopicState { name: Some(NAME.into()), ..Default::default() };
        let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        self.clients.promises.borrow_mut().deleting(NAME);
        loop {
            let mut session = self.clients.connect().await;
            let Ok(response) = session.link.call(DELETE_TOPICS_VERSION, &request).await else { continue };
            match ErrorCode(response.responses[0].error_code) {
                code if code.is_none() => break,
                // Done for the process before, which did not come to say so.
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => break,
                code => {
                    if !self.may_try_again("delete", code).await {
                        return false;
                    }
                }
            }
        }
        self.clients.promises.borrow_mut().deleted(NAME);
        true
    }

    async fn may_try_again(&mut self, what: &str, code: ErrorCode) -> bool {
        self.refusals += 1;
        if self.disk_fails && self.refusals <= REFUSALS_MAX || !self.disk_fails && code.is_retriable() {
            self.clients.pause().await;
            return true;
        }
        if !self.disk_fails {
            self.clients.promises.borrow_mut().violation(format!("{what} {NAME}: {code}"));
        }
        false
    }
}
