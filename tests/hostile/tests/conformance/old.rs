//! What only old versions have.

use corelane_core::protocol::ErrorCode;
use corelane_simulation::client::Link;

use super::{append, create, list_offsets_request};

/// Version 0: where segments begin that were last written to in time, and the end of the log.
pub(crate) async fn list_segments(link: &mut Link) {
    let topic = create(link, "list-0".into(), 1).await;
    let wanted = |timestamp, max_num_offsets| {
        let mut request = list_offsets_request(&topic.name, &[0], timestamp);
        request.topics[0].partitions[0].max_num_offsets = max_num_offsets;
        request
    };
    for (filled, timestamp, count_max, expected) in [
        (false, -1, 5, &[0][..]),
        (true, -1, 1, &[3]),
        (true, -1, 5, &[3, 0]),
        (true, -2, 5, &[0]),
        (true, i64::MAX, 5, &[3, 0]),
        (true, i64::MAX, 1, &[3]),
        (true, i64::MAX, 0, &[]),
        (true, 1_000, 5, &[]),
    ] {
        if filled && expected == [3] && timestamp == -1 {
            append(link, &topic, 0, "first").await;
        }
        let answer = link.call(0, &wanted(timestamp, count_max)).await.expect("is answered");
        let part = &answer.topics[0].partitions[0];
        assert_eq!((part.error_code, &part.old_style_offsets[..]), (0, expected), "{timestamp}, at most {count_max}");
    }
    let answer = link.call(0, &wanted(-3, 1)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), ErrorCode::UNSUPPORTED_VERSION);
    let answer = link.call(0, &list_offsets_request("nowhere", &[0], -1)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}
