//! What a batch costs the broker in allocations, on its way in and out: as much whether it has one record or thousands.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::Timestamp;
use corelane_core::record::{BatchBuilder, BatchOptions};
use corelane_hostile::allocation::Mark;
use corelane_hostile::everyday::{FETCH_VERSION, PRODUCE_VERSION, WALL_MS, create, fetch, produce};
use corelane_hostile::world::{Raw, frame, with_broker};

const ROUNDS: usize = 51;

/// A batch of these values.
fn batch(values: impl Iterator<Item = usize>) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    values.for_each(|bytes| builder.append(Timestamp(WALL_MS), None, Some(&vec![7; bytes]), &[]));
    builder.build().expect("can be built").bytes().clone()
}

/// Two batches of the same length, of many records and of one.
fn of_many_and_of_one(records: usize) -> (Bytes, Bytes) {
    let many = batch((0..records).map(|_| 20));
    let one = (1..=many.len()).rev().map(|bytes| batch(std::iter::once(bytes))).find(|one| one.len() <= many.len());
    let one = one.expect("one of them is as long");
    assert_eq!(one.len(), many.len(), "lengths of this number of records cannot be the same");
    (many, one)
}

/// Sends a request and takes its answer, whose length it gives.
async fn exchange(raw: &Raw, request: Vec<u8>) -> usize {
    assert!(raw.send(request).await);
    let (mut came, mut size) = (Vec::new(), None);
    while size.is_none_or(|size| came.len() < size) {
        came.extend_from_slice(&raw.receive().await.expect("is answered"));
        size = size.or_else(|| came.first_chunk().map(|size| 4 + u32::from_be_bytes(*size) as usize));
    }
    came.len()
}

/// What one exchange took of this thread: the broker, the simulated network and disk, and the client, which is the same
/// for all.
#[derive(Clone, Debug, Default)]
struct Costs {
    allocations: Vec<usize>,
    bytes: Vec<usize>,
}

impl Costs {
    fn add(&mut self, mark: Mark) {
        self.allocations.push(mark.allocations());
        self.bytes.push(mark.allocated_bytes());
    }

    /// Of allocations and of bytes: what grows now and then is in no median.
    fn medians(&self) -> [usize; 2] {
        [&self.allocations, &self.bytes].map(|values| {
            let mut values = values.clone();
            values.sort_unstable();
            values[values.len() / 2]
        })
    }
}

/// Medians of what each of these batches takes to be produced, and to be fetched, in turns.
fn medians(batches: &[(Bytes, usize)]) -> Vec<[[usize; 2]; 2]> {
    let told = Rc::new(RefCell::new(vec![[Costs::default(), Costs::default()]; batches.len()]));
    let (costs, batches) = (Rc::clone(&told), batches.to_vec());
    with_broker(1, 1, |clients| async move {
        create(&clients).await;
        let raw = clients.raw().await;
        let mut offset = 0;
        for _ in 0..ROUNDS {
            for (which, (records, count)) in batches.iter().enumerate() {
                let request = frame(PRODUCE_VERSION, 1, &produce(0, records.clone(), -1));
                let asked = frame(FETCH_VERSION, 2, &fetch(0, offset));
                offset += i64::try_from(*count).expect("is small");
                let mark = Mark::here();
                exchange(&raw, request).await;
                costs.borrow_mut()[which][0].add(mark);
                let mark = Mark::here();
                let came = exchange(&raw, asked).await;
                costs.borrow_mut()[which][1].add(mark);
                assert!(came > records.len(), "the batch comes back");
            }
        }
    });
    told.take().iter().map(|costs| [costs[0].medians(), costs[1].medians()]).collect()
}

#[test]
fn as_much_for_one_record_as_for_thousands() {
    for records in [40, 3_000, 20_000] {
        let (many, one) = of_many_and_of_one(records);
        let taken = medians(&[(many, records), (one, 1)]);
        for (way, (of_many, of_one)) in ["in", "out"].iter().zip(std::iter::zip(taken[0], taken[1])) {
            let [allocations, bytes] = of_many;
            // The network delivers in pieces of its own choice.
            assert!(allocations <= of_one[0] + of_one[0] / 5, "{way}, {records} records: {of_many:?}, one: {of_one:?}");
            assert!(bytes <= of_one[1] + of_one[1] / 10, "{way}, {records} records: {of_many:?}, one: {of_one:?}");
        }
    }
}

#[test]
fn no_more_for_a_large_batch_than_a_place_for_its_bytes() {
    let sizes = [100_000, 800_000];
    let batches: Vec<(Bytes, usize)> = sizes.iter().map(|bytes| (batch(std::iter::once(*bytes)), 1)).collect();
    let taken = medians(&batches);
    let ([[_, of_small], _], [[_, of_large], _]) = (taken[0], taken[1]);
    let (more, longer) = (of_large - of_small, sizes[1] - sizes[0]);
    assert!(more < longer + longer / 20, "{longer} more bytes take {more} bytes of memory");
}
