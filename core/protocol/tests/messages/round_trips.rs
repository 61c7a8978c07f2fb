//! What is written is read back as it was, and only in versions that exist.

use bytes::Bytes;
use corelane_protocol::wire::{DecodeErrorKind, EncodeErrorKind, Reader, Writer};
use corelane_protocol::{Message, messages};

use corelane_protocol::samples::{Source, codecs, encode};

const SAMPLES_PER_VERSION: u64 = 8;

#[test]
fn random_values_of_every_message_and_version_come_back() {
    for codec in codecs() {
        for version in codec.versions.clone() {
            for number in 0..SAMPLES_PER_VERSION {
                // Compares the value with what decoding its bytes gives.
                (codec.sample)(&mut Source::of_case(codec.name, version, number), version);
            }
        }
    }
}

#[test]
fn a_version_that_does_not_exist_is_an_error() {
    for codec in codecs() {
        for version in [codec.versions.start() - 1, codec.versions.end() + 1, i16::MIN, i16::MAX] {
            let error = (codec.decode)(Bytes::from_static(&[0; 64]), version).expect_err(codec.name);
            assert_eq!(error.kind, DecodeErrorKind::UnsupportedVersion { version });
        }
    }
    let error = messages::ProduceRequest::default().encode(&mut Writer::new(), 14).expect_err("there is no version 14");
    assert_eq!(error.kind, EncodeErrorKind::UnsupportedVersion { version: 14 });
}

#[test]
fn a_value_that_a_version_cannot_carry_is_dropped_only_if_the_schema_allows() {
    let transactional =
        messages::ProduceRequest { transactional_id: Some("t".into()), ..messages::ProduceRequest::default() };
    let error = transactional.encode(&mut Writer::new(), 2).expect_err("transactional_id is there from version 3");
    assert_eq!(error.field, "ProduceRequest.transactional_id");
    assert_eq!(error.kind, EncodeErrorKind::FieldNotInVersion { version: 2 });

    let throttled = messages::ProduceResponse { throttle_time_ms: 7, ..messages::ProduceResponse::default() };
    assert_eq!(encode(&throttled, 0), encode(&messages::ProduceResponse::default(), 0));
}

#[test]
fn null_is_refused_in_versions_without_it() {
    let all_topics = messages::MetadataRequest { topics: None, ..messages::MetadataRequest::default() };
    assert_eq!(encode(&all_topics, 1)[..], [0xff; 4]);
    let error = all_topics.encode(&mut Writer::new(), 0).expect_err("null means nothing in version 0");
    assert_eq!(error.kind, EncodeErrorKind::UnexpectedNull);

    let error = messages::MetadataRequest::decode(&mut Reader::new(Bytes::from_static(&[0xff; 4])), 0);
    assert_eq!(error.expect_err("as above").kind, DecodeErrorKind::UnexpectedNull);
}

#[test]
fn tagged_fields_of_a_newer_peer_are_passed_over() {
    // client_software_name and _version, then tags 5 and 9, which nobody knows.
    let bytes = Bytes::from_static(&[2, b'a', 2, b'1', 2, 5, 3, 1, 2, 3, 9, 0]);
    let mut reader = Reader::new(bytes);
    let request = messages::ApiVersionsRequest::decode(&mut reader, 3).expect("unknown tags are allowed");
    assert_eq!((request.client_software_name.as_str(), request.client_software_version.as_str()), ("a", "1"));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_tagged_field_must_be_as_long_as_it_says() {
    // An ApiVersions answer with an empty list, whose tag 1 (an i64) claims nine bytes.
    let bytes = Bytes::from_static(&[0, 0, 1, 0, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let error = messages::ApiVersionsResponse::decode(&mut Reader::new(bytes), 3).expect_err("one byte too many");
    assert_eq!(error.kind, DecodeErrorKind::TaggedFieldSize { unread: 1 });
    assert_eq!(error.field, "ApiVersionsResponse.finalized_features_epoch");
}

#[test]
fn large_records_are_passed_on_without_a_copy() {
    use messages::fetch_response::{FetchableTopicResponse, PartitionData};
    let records = Bytes::from(vec![7; 100_000]);
    let partition = PartitionData { records: Some(records.clone()), ..PartitionData::default() };
    let topic = FetchableTopicResponse { partitions: vec![partition.clone(), partition], ..Default::default() };
    let response = messages::FetchResponse { responses: vec![topic], ..Default::default() };
    for version in messages::FetchResponse::VERSIONS.filter(|version| *version >= 13) {
        let mut writer = Writer::frame();
        response.encode(&mut writer, version).expect("a legal answer");
        let slices = writer.into_frame().expect("far below two gigabytes");
        let passed_on = slices.iter().filter(|slice| slice.as_ptr() == records.as_ptr()).count();
        assert_eq!(passed_on, 2);
        let length: usize = slices.iter().map(Bytes::len).sum();
        assert_eq!(slices[0][..4], u32::try_from(length - 4).expect("small").to_be_bytes());
    }
}

#[test]
fn decoded_records_and_names_are_ranges_of_the_frame() {
    use messages::produce_request::{PartitionProduceData, TopicProduceData};
    let partition = PartitionProduceData { index: 1, records: Some(Bytes::from_static(b"records")) };
    let topic = TopicProduceData { name: "topic".into(), partition_data: vec![partition], ..Default::default() };
    let request = messages::ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    let frame = encode(&request, 9);
    let decoded = messages::ProduceRequest::decode(&mut Reader::new(frame.clone()), 9).expect("just encoded");
    let within = |slice: &[u8]| frame.as_ptr_range().contains(&slice.as_ptr());
    assert!(within(decoded.topic_data[0].name.as_bytes()));
    assert!(within(decoded.topic_data[0].partition_data[0].records.as_ref().expect("not null")));
}
