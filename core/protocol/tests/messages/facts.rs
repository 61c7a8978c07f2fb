//! What Kafka's classes say of API keys and error codes is what our tables say.

use corelane_protocol::{ApiKey, ErrorCode};

use crate::vector_files::read;

#[test]
fn api_keys_headers_and_error_codes_are_kafkas() {
    let Some(content) = read("facts.txt") else {
        return;
    };
    let facts = String::from_utf8(content).expect("facts.txt is ASCII");
    let (mut apis, mut errors) = (0, 0);
    for line in facts.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<i16>().expect(line);
        match words[0] {
            "api" => {
                let api = ApiKey::from_i16(number(1)).expect(line);
                assert_eq!(api.name(), words[2]);
                assert_eq!((*api.versions().end(), api.newest_stable_version()), (number(3), number(4)), "{line}");
                apis += 1;
            }
            "header" => {
                let api = ApiKey::from_i16(number(1)).expect(line);
                let ours = (api.request_header_version(number(2)), api.response_header_version(number(2)));
                assert_eq!(ours, (number(3), number(4)), "{line}");
            }
            "error" => {
                let error = ErrorCode(number(1));
                assert_eq!((error.name(), error.is_retriable().to_string().as_str()), (words[2], words[3]));
                errors += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(apis, ApiKey::ALL.len());
    assert!(errors > 130, "{errors} error codes");
}
