//! Clients that do not behave, against the whole broker: each gets what Apache Kafka gives it, costs no memory beyond
//! what it really sent, and takes nothing from the others.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use corelane_core::base::Timestamp;
use corelane_core::limits::{ANSWER_MEMORY_BYTES_MAX, PIPELINE_REQUESTS_MAX};
use corelane_core::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, FetchRequest, MetadataRequest};
use corelane_core::protocol::wire::{Frame, Reader, next_frame};
use corelane_core::protocol::{ApiKey, ErrorCode, Message};
use corelane_core::record::{BatchBuilder, BatchOptions};
use corelane_core::test_support::Random;
use corelane_hostile::allocation::Mark;
use corelane_hostile::everyday::{FETCH_VERSION, PRODUCE_VERSION, WALL_MS, create, fetch, produce};
use corelane_hostile::requests;
use corelane_hostile::world::{Clients, Raw, frame, frame_of, with_broker, with_broker_of};

/// Time in which the broker closes a connection that it will not serve.
const CLOSE_MS: u64 = 1_000;
/// Memory that a hostile client's visit may leave behind: what it had stored on the simulated disk.
const LEFT_BYTES_MAX: usize = 1024 * 1024;

/// A hostile client visits a broker of one shard and of two. Before and after, an honest one is served; what the visit
/// costs in memory at its height is at most `memory_bytes_max`, and next to nothing of it is left.
fn visit<F: Future<Output = ()> + 'static>(memory_bytes_max: usize, hostile: impl Fn(Clients) -> F) {
    for shards in [1, 2] {
        let (_, stored_bytes) = cost_of_visit(shards, |_| async {});
        let (peak_bytes, kept_bytes) = cost_of_visit(shards, &hostile);
        assert!(peak_bytes <= memory_bytes_max, "the visit cost {peak_bytes} bytes of memory");
        let left_bytes = kept_bytes.saturating_sub(stored_bytes);
        assert!(left_bytes <= LEFT_BYTES_MAX, "the visit left {left_bytes} bytes in memory");
    }
}

/// Memory at the height of a visit, and what another one left together with what honest clients have stored since. The
/// first visit pays for tables that grow once, most of them the simulated network's.
fn cost_of_visit<F: Future<Output = ()> + 'static>(shards: u16, hostile: impl Fn(Clients) -> F) -> (usize, usize) {
    let cost = Rc::new(Cell::new((0, 0)));
    with_broker(u64::from(shards), shards, |clients| {
        let (first, second, cost) = (hostile(clients.clone()), hostile(clients.clone()), Rc::clone(&cost));
        async move {
            create(&clients).await;
            for number in 0..4 {
                honest_work(&clients, number).await;
            }
            let mark = Mark::here();
            first.await;
            let peak_bytes = mark.peak_bytes();
            honest_work(&clients, 4).await;
            clients.sleep_ms(CLOSE_MS).await;

            let mark = Mark::here();
            second.await;
            for number in 5..8 {
                honest_work(&clients, number).await;
            }
            clients.sleep_ms(CLOSE_MS).await;
            cost.set((peak_bytes, mark.kept_bytes()));
        }
    });
    cost.get()
}

fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Timestamp(WALL_MS), None, Some(value), &[]);
    builder.build().expect("can be built").bytes().clone()
}

/// A small record and one that is large enough for a buffer of its own, to each partition and back, soon.
async fn honest_work(clients: &Clients, number: u8) {
    honest_work_within(clients, number, 5_000).await;
}

async fn honest_work_within(clients: &Clients, number: u8, ms: u64) {
    let work = async {
        let mut link = clients.honest().await;
        for partition in 0..2 {
            for value in [vec![number; 10], vec![number; 50_000]] {
                let sent = batch(&value);
                let answer =
                    link.call(PRODUCE_VERSION, &produce(partition, sent.clone(), -1)).await.expect("is answered");
                let written = &answer.responses[0].partition_responses[0];
                assert_eq!(written.error_code, 0, "{:?}", written.error_message);
                let answer =
                    link.call(FETCH_VERSION, &fetch(partition, written.base_offset)).await.expect("is answered");
                let read = &answer.responses[0].partitions[0];
                assert_eq!(read.error_code, 0);
                let read = read.records.clone().unwrap_or_default();
                // Base offset and leader epoch are the broker's.
                assert_eq!(read.slice(16..), sent.slice(16..), "the record comes back");
            }
        }
    };
    assert!(clients.within_ms(ms, work).await.is_some(), "an honest client is not served in time");
}

/// The connection is closed without a byte.
async fn refused(raw: &Raw) {
    assert_eq!(raw.received_until_closed(CLOSE_MS).await, b"", "nothing is answered");
}

fn api_versions(version: i16) -> ApiVersionsRequest {
    let name = if version >= 3 { "hostile" } else { "" };
    ApiVersionsRequest { client_software_name: name.into(), client_software_version: name.into() }
}

/// Sends bytes on a new connection, which then is closed without an answer.
fn is_refused(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    visit(1024 * 1024, move |clients| {
        let bytes = bytes.clone();
        async move {
            let raw = clients.raw().await;
            raw.send(bytes).await;
            refused(&raw).await;
        }
    });
}

#[test]
fn a_negative_size_closes_the_connection() {
    is_refused(&(-1_i32).to_be_bytes());
    is_refused(&i32::MIN.to_be_bytes());
}

#[test]
fn a_size_above_the_maximum_closes_the_connection() {
    // socket.request.max.bytes is 100 MiB.
    is_refused(&(100 * 1024 * 1024 + 1_i32).to_be_bytes());
    is_refused(&i32::MAX.to_be_bytes());
}

#[test]
fn an_announced_size_reserves_no_memory() {
    visit(2 * 1024 * 1024, |clients| async move {
        let raw = clients.raw().await;
        raw.send((100 * 1024 * 1024_i32).to_be_bytes().to_vec()).await;
        clients.sleep_ms(1_000).await;
        raw.send(vec![0; 1000]).await;
        clients.sleep_ms(1_000).await;
        // It stays open: the rest may come yet.
        assert!(clients.within_ms(1_000, raw.receive()).await.is_none());
    });
}

#[test]
fn who_announces_much_and_sends_nothing_does_not_hold_up_others() {
    visit(8 * 1024 * 1024, |clients| async move {
        let mut idle = Vec::new();
        for _ in 0..4 {
            let raw = clients.raw().await;
            raw.send((100 * 1024 * 1024_i32).to_be_bytes().to_vec()).await;
            idle.push(raw);
        }
        clients.sleep_ms(1_000).await;
        // One of them drips: not standing still is not enough.
        let dripping = Rc::new(idle.pop().expect("there are four"));
        let (pause, drip) = (clients.clone(), Rc::clone(&dripping));
        clients.spawn("dripping", async move {
            while drip.send(vec![0; 10]).await {
                pause.sleep_ms(100).await;
            }
        });
        // Each of them may hold the memory for a while, but not for ever.
        honest_work_within(&clients, 10, 15_000).await;
        honest_work(&clients, 11).await;
        dripping.reset();
    });
}

/// What waits for the rest of a request holds up nothing before it: appends that are gathered for one write too.
#[test]
fn half_a_request_does_not_hold_up_those_before_it() {
    for seed in 0..8 {
        with_broker(seed, 1, |clients| async move {
            create(&clients).await;
            for rest_bytes in [1, 20, 100] {
                let raw = clients.raw().await;
                let mut bytes = Vec::new();
                for number in 1..=3 {
                    bytes.extend_from_slice(&frame(PRODUCE_VERSION, number, &produce(0, batch(b"gathered"), -1)));
                }
                let next = frame(PRODUCE_VERSION, 4, &produce(0, batch(b"half"), -1));
                bytes.extend_from_slice(&next[..next.len() - rest_bytes]);
                assert!(raw.send(bytes).await);
                let answered = clients.within_ms(1_000, correlation_ids(&raw, 3)).await;
                assert_eq!(answered.expect("whole requests are answered"), [1, 2, 3]);
                assert!(raw.send(next[next.len() - rest_bytes..].to_vec()).await);
                assert_eq!(correlation_ids(&raw, 1).await, [4]);
            }
        });
    }
}

/// More requests at once than may be in line, all answered when they are looked at: nobody but the reader makes room.
#[test]
fn many_requests_that_are_refused_at_once_are_answered() {
    with_broker(0, 1, |clients| async move {
        create(&clients).await;
        let raw = clients.raw().await;
        let mut bytes = Vec::new();
        for number in 1..=300 {
            bytes.extend_from_slice(&frame(PRODUCE_VERSION, number, &produce(999, batch(b"x"), -1)));
        }
        assert!(raw.send(bytes).await);
        let answered = clients.within_ms(1_000, correlation_ids(&raw, 300)).await;
        assert_eq!(answered.expect("each is answered"), (1..=300).collect::<Vec<_>>());
    });
}

#[test]
fn a_fetch_that_waits_goes_with_its_connection() {
    with_broker(1, 2, |clients| async move {
        create(&clients).await;
        let long = |number| {
            frame(FETCH_VERSION, number, &FetchRequest { max_wait_ms: 300_000, session_epoch: -1, ..fetch(0, 0) })
        };
        let mark = Mark::here();
        for _ in 0..200 {
            let raw = clients.raw().await;
            raw.send(long(1)).await;
            raw.send(long(2)).await;
            clients.sleep_ms(5).await;
            raw.reset();
        }
        clients.sleep_ms(CLOSE_MS).await;
        let kept_bytes = mark.kept_bytes();
        // The simulated clock keeps their timers, and they held two million bytes.
        assert!(kept_bytes < 300 * 1024, "two hundred connections that are gone hold {kept_bytes} bytes");
        // Who has said all and listens gets the answer at once.
        let raw = clients.raw().await;
        raw.send(long(3)).await;
        raw.finish_sending();
        assert!(raw.received_until_closed(CLOSE_MS).await.len() > 8);
    });
}

#[test]
fn an_unknown_key_closes_the_connection() {
    for key in [-1, 4, 93, 999, i16::MAX] {
        is_refused(&frame_of(key, 0, 1, 1, b""));
    }
}

#[test]
fn a_known_key_that_is_not_served_closes_the_connection() {
    is_refused(&frame_of(ApiKey::SaslHandshake as i16, 1, 1, 1, b"\0\x05PLAIN"));
}

#[test]
fn an_unsupported_version_closes_the_connection() {
    is_refused(&frame_of(ApiKey::Metadata as i16, 14, 1, 2, b"\0"));
    is_refused(&frame_of(ApiKey::Metadata as i16, -1, 1, 1, b"\0"));
    is_refused(&frame_of(ApiKey::Fetch as i16, -1, 1, 1, b"\0"));
    is_refused(&frame_of(ApiKey::Produce as i16, -1, 1, 1, b"\0"));
    is_refused(&frame_of(ApiKey::InitProducerId as i16, 6, 1, 2, b"\0"));
}

#[test]
fn api_versions_in_an_unsupported_version_is_answered_in_version_0() {
    visit(1024 * 1024, |clients| async move {
        // What follows the header is of a format that nobody here knows.
        for (version, body) in [(5, &b""[..]), (99, b"\xff\xff\xff\xff"), (i16::MAX, b"\0\0"), (-1, b"")] {
            let raw = clients.raw().await;
            raw.send(frame_of(ApiKey::ApiVersions as i16, version, 77, if version < 0 { 1 } else { 2 }, body)).await;
            let answer = answer_of::<ApiVersionsResponse>(&raw, 77, 0).await;
            assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
            let keys: Vec<_> =
                answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
            assert_eq!(keys, [(18, 0, 4)]);
            // The client tries again on the same connection.
            raw.send(frame(4, 78, &api_versions(4))).await;
            let answer = answer_of::<ApiVersionsResponse>(&raw, 78, 4).await;
            assert_eq!(answer.error_code, 0);
        }
    });
}

/// Values that no honest client sends, in the form of honest requests: each is answered, save a Produce with acks=0.
#[test]
fn every_well_formed_request_is_answered() {
    for seed in 0..12 {
        with_broker(seed, 1, |clients| async move {
            create(&clients).await;
            let mut random = Random::new(seed);
            for (key, version) in requests::parsed() {
                let raw = clients.raw().await;
                let body = requests::sample(key, version, &mut random);
                raw.send(frame_of(key as i16, version, 1, key.request_header_version(version), &body)).await;
                let answer = clients.within_ms(10_000, raw.receive()).await;
                let name = key.name();
                if key != ApiKey::Produce {
                    assert!(matches!(answer, Some(Some(_))), "{name} {version} is not answered: {body:?}");
                }
            }
            honest_work(&clients, 1).await;
        });
    }
}

/// The next answer on a raw connection, with a header of version 0.
/// What the next answers answer.
async fn correlation_ids(raw: &Raw, count: usize) -> Vec<i32> {
    let (mut bytes, mut ids) = (BytesMut::new(), Vec::new());
    while ids.len() < count {
        bytes.extend_from_slice(&raw.receive().await.expect("an answer"));
        while let Ok(Frame::Complete(frame)) = next_frame(&mut bytes, 1 << 20) {
            ids.push(frame.first_chunk().map_or(-1, |id| i32::from_be_bytes(*id)));
        }
    }
    assert!(bytes.is_empty(), "nothing else is answered");
    ids
}

async fn answer_of<M: Message>(raw: &Raw, correlation_id: i32, version: i16) -> M {
    let mut bytes = Vec::new();
    loop {
        if let Some((size, rest)) = bytes.split_first_chunk() {
            let size = usize::try_from(i32::from_be_bytes(*size)).expect("an answer has a size");
            if rest.len() >= size {
                assert_eq!(rest.len(), size, "one answer");
                let mut reader = Reader::new(Bytes::copy_from_slice(rest));
                assert_eq!(reader.field("correlation_id").i32(), Ok(correlation_id));
                let message = M::decode(&mut reader, version).expect("an answer of that version");
                reader.finish().expect("nothing is behind it");
                return message;
            }
        }
        bytes.extend_from_slice(&raw.receive().await.expect("an answer"));
    }
}

#[test]
fn software_names_that_break_the_rule_are_an_invalid_request() {
    visit(1024 * 1024, |clients| async move {
        let mut link = clients.honest().await;
        let request = ApiVersionsRequest { client_software_name: "-".into(), client_software_version: "1".into() };
        let answer = link.call(3, &request).await.expect("is answered");
        assert_eq!(answer.error_code, ErrorCode::INVALID_REQUEST.0);
    });
}

#[test]
fn a_frame_without_a_header_closes_the_connection() {
    for length in 0_u8..8 {
        is_refused(&[&[0, 0, 0, length][..], &[0; 8][..usize::from(length)]].concat());
    }
}

#[test]
fn a_header_without_a_body_closes_the_connection() {
    is_refused(&frame_of(ApiKey::Metadata as i16, 9, 1, 2, b""));
    is_refused(&frame_of(ApiKey::Produce as i16, 9, 1, 2, b""));
    is_refused(&frame_of(ApiKey::Fetch as i16, 4, 1, 1, b""));
}

#[test]
fn a_body_cut_anywhere_closes_the_connection() {
    visit(4 * 1024 * 1024, |clients| async move {
        for whole in [frame(PRODUCE_VERSION, 1, &produce(0, batch(b"cut"), 1)), frame(FETCH_VERSION, 1, &fetch(0, 0))] {
            for end in 8..whole.len() {
                let mut cut = whole[..end].to_vec();
                let size = i32::try_from(end - 4).expect("is small");
                cut[..4].copy_from_slice(&size.to_be_bytes());
                let raw = clients.raw().await;
                raw.send(cut).await;
                refused(&raw).await;
            }
        }
    });
}

#[test]
fn huge_counts_close_the_connection_and_cost_nothing() {
    // Metadata 1: an array of two thousand million names. Produce 3: no transaction, acks, timeout, as many topics.
    is_refused(&frame_of(ApiKey::Metadata as i16, 1, 1, 1, &i32::MAX.to_be_bytes()));
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 1];
    body.extend_from_slice(&i32::MAX.to_be_bytes());
    is_refused(&frame_of(ApiKey::Produce as i16, 3, 1, 1, &body));
    // Flexible: a compact array of the largest count, and as many tagged fields.
    is_refused(&frame_of(ApiKey::Metadata as i16, 12, 1, 2, &[0xff, 0xff, 0xff, 0xff, 0x0f]));
    is_refused(&frame_of(ApiKey::ApiVersions as i16, 3, 1, 2, &[2, b'a', 2, b'a', 0xff, 0xff, 0xff, 0xff, 0x0f]));
}

#[test]
fn bytes_behind_the_body_are_ignored() {
    visit(1024 * 1024, |clients| async move {
        let raw = clients.raw().await;
        let mut bytes = frame(2, 5, &api_versions(2));
        bytes.extend_from_slice(b"garbage");
        let size = i32::try_from(bytes.len() - 4).expect("is small");
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        raw.send(bytes).await;
        assert_eq!(answer_of::<ApiVersionsResponse>(&raw, 5, 2).await.error_code, 0);
    });
}

#[test]
fn batches_of_garbage_are_refused_and_the_connection_stays() {
    visit(2 * 1024 * 1024, |clients| async move {
        let mut link = clients.honest().await;
        let whole = batch(b"whole");
        let mut flipped = whole.to_vec();
        *flipped.last_mut().expect("has bytes") ^= 1;
        let two = [&whole[..], &whole[..]].concat();
        for (records, code) in [
            (Bytes::new(), ErrorCode::INVALID_RECORD),
            (Bytes::from(two), ErrorCode::INVALID_RECORD),
            (Bytes::from(flipped), ErrorCode::CORRUPT_MESSAGE),
        ] {
            let answer = link.call(PRODUCE_VERSION, &produce(0, records, -1)).await.expect("is answered");
            assert_eq!(ErrorCode(answer.responses[0].partition_responses[0].error_code), code);
        }
        // With acks=0 a closed connection is the only way to tell.
        let raw = clients.raw().await;
        raw.send(frame(PRODUCE_VERSION, 1, &produce(99, whole, 0))).await;
        refused(&raw).await;
    });
}

#[test]
fn a_request_that_drips_is_served() {
    visit(2 * 1024 * 1024, |clients| async move {
        let raw = clients.raw().await;
        for byte in frame(4, 9, &api_versions(4)) {
            assert!(raw.send(vec![byte]).await);
            clients.sleep_ms(200).await;
        }
        assert_eq!(answer_of::<ApiVersionsResponse>(&raw, 9, 4).await.error_code, 0);
    });
}

#[test]
fn who_has_said_all_gets_the_answers() {
    visit(2 * 1024 * 1024, |clients| async move {
        let raw = clients.raw().await;
        raw.send(frame(0, 3, &api_versions(0))).await;
        raw.finish_sending();
        let answer = raw.received_until_closed(CLOSE_MS).await;
        assert!(answer.len() > 8, "the answer came before the end");
        // In the middle of a frame too the connection ends.
        let raw = clients.raw().await;
        raw.send(vec![0, 0, 1, 0, 7]).await;
        raw.finish_sending();
        refused(&raw).await;
    });
}

#[test]
fn requests_without_end_and_no_answer_read() {
    visit(8 * 1024 * 1024, |clients| async move {
        let raw = Rc::new(clients.raw().await);
        let sent = Rc::new(Cell::new(0));
        let (sender, counted) = (Rc::clone(&raw), Rc::clone(&sent));
        clients.spawn("hostile sender", async move {
            let all = MetadataRequest { topics: None, ..Default::default() };
            for number in 0..1_000 {
                // A hundred at a time: the network's own tables grow with the number of sends.
                let mut many = Vec::new();
                for _ in 0..33 {
                    many.extend(frame(12, 1, &all));
                    many.extend(frame(4, 2, &api_versions(4)));
                    many.extend(frame(FETCH_VERSION, 3, &fetch(0, 0)));
                }
                if !sender.send(many).await {
                    return;
                }
                counted.set(number);
            }
        });
        clients.sleep_ms(30_000).await;
        let stalled_at = sent.get();
        assert!(stalled_at < 999, "the broker took everything that was sent, answers unread");
        honest_work(&clients, 20).await;
        clients.sleep_ms(5_000).await;
        assert_eq!(sent.get(), stalled_at, "it does not read on");
        raw.reset();
    });
}

#[test]
fn waiting_fetches_without_end() {
    // When their time is up, each of those in progress reads the quarter of a megabyte that is there.
    visit(PIPELINE_REQUESTS_MAX * 512 * 1024, |clients| async move {
        let raw = Rc::new(clients.raw().await);
        let sent = Rc::new(Cell::new(0));
        let (sender, counted) = (Rc::clone(&raw), Rc::clone(&sent));
        let many = frame(FETCH_VERSION, 1, &FetchRequest { min_bytes: i32::MAX, max_wait_ms: 20_000, ..fetch(0, 0) });
        let many = Bytes::from(many.repeat(PIPELINE_REQUESTS_MAX));
        clients.spawn("hostile sender", async move {
            while counted.get() < 1_000 && sender.send(many.clone()).await {
                counted.set(counted.get() + 1);
            }
        });
        clients.sleep_ms(10_000).await;
        assert!(sent.get() < 1_000, "the broker took every request that was sent, none of them answered");
        honest_work(&clients, 21).await;
        raw.reset();
        clients.sleep_ms(20_000).await;
    });
}

/// Records of that size on partition 0, then clients that ask for all of them as often as they may and read nothing; what
/// that costs in memory at its height, and what is kept when they have gone.
fn cost_of_unread_fetches(shards: u16, answer_memory_bytes_max: usize, record_bytes: usize) -> (usize, usize) {
    let cost = Rc::new(Cell::new((0, 0)));
    let told = Rc::clone(&cost);
    with_broker_of(u64::from(shards), shards, answer_memory_bytes_max, |clients| async move {
        create(&clients).await;
        // Before memory is looked at: the simulated disk is memory too.
        let mut link = clients.honest().await;
        for number in 0..8 {
            let answer = link.call(PRODUCE_VERSION, &produce(0, batch(&vec![number; record_bytes]), -1)).await;
            assert_eq!(answer.expect("is answered").responses[0].partition_responses[0].error_code, 0);
        }
        honest_work(&clients, 9).await;
        let mark = Mark::here();
        let mut deaf = Vec::new();
        for _ in 0..DEAF_CLIENTS {
            let raw = clients.raw().await;
            for number in 0..i32::try_from(PIPELINE_REQUESTS_MAX).expect("is small") {
                assert!(raw.send(frame(FETCH_VERSION, number, &fetch_limited(record_bytes))).await);
            }
            deaf.push(raw);
        }
        clients.sleep_ms(5_000).await;
        let peak_bytes = mark.peak_bytes();
        honest_work(&clients, 10).await;
        deaf.iter().for_each(Raw::reset);
        drop(deaf);
        clients.sleep_ms(CLOSE_MS).await;
        told.set((peak_bytes, mark.kept_bytes()));
    });
    cost.get()
}

const DEAF_CLIENTS: usize = 8;
/// What the socket buffers of a connection hold, and its own small things.
const CONNECTION_BYTES_MAX: usize = 512 * 1024;
/// What a request that waits for its answer to be taken holds beside the records.
const REQUEST_BYTES_MAX: usize = 2 * 1024;

/// A fetch of about two records from the beginning.
fn fetch_limited(record_bytes: usize) -> FetchRequest {
    let mut request = fetch(0, 0);
    request.topics[0].partitions[0].partition_max_bytes =
        i32::try_from(record_bytes + record_bytes / 8).expect("is small");
    request
}

#[test]
fn fetched_data_that_nobody_reads() {
    // 8 clients × 64 requests × 0.9 MB that wait for their readers, in their files.
    for shards in [1, 2] {
        let (peak_bytes, kept_bytes) = cost_of_unread_fetches(shards, ANSWER_MEMORY_BYTES_MAX, 900_000);
        assert!(peak_bytes <= DEAF_CLIENTS * CONNECTION_BYTES_MAX, "unread answers hold {peak_bytes} bytes");
        assert!(kept_bytes <= LEFT_BYTES_MAX, "{kept_bytes} bytes are left");
    }
}

#[test]
fn fetched_data_that_nobody_reads_and_that_is_too_little_for_files() {
    // 8 clients × 64 requests × 40 KB that are copied, until the budget is spent.
    const BUDGET_BYTES: usize = 2 * 1024 * 1024;
    for shards in [1, 2] {
        let (peak_bytes, kept_bytes) = cost_of_unread_fetches(shards, BUDGET_BYTES, 40_000);
        let requests_bytes = PIPELINE_REQUESTS_MAX * REQUEST_BYTES_MAX;
        let bound = BUDGET_BYTES + DEAF_CLIENTS * (CONNECTION_BYTES_MAX + requests_bytes);
        assert!(peak_bytes <= bound, "unread answers hold {peak_bytes} bytes");
        assert!(peak_bytes > BUDGET_BYTES / 2, "they hold next to nothing: {peak_bytes} bytes");
        assert!(kept_bytes <= LEFT_BYTES_MAX, "{kept_bytes} bytes are left");
    }
}
