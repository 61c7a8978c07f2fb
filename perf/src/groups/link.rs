//! A connection that asks and waits: one thread, one request at a time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use corelane_core::protocol::messages::{RequestHeader, ResponseHeader};
use corelane_core::protocol::wire::{Reader, Writer};
use corelane_core::protocol::{KafkaString, Message, Request};

/// Time that a broker has for an answer; joins take as long as the group needs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest answer that is believed.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// An open connection.
pub(crate) struct Link {
    socket: TcpStream,
    client_id: KafkaString,
    next_correlation_id: i32,
}

impl Link {
    /// Connects to `host:port`.
    pub(crate) fn open(address: &str, client_id: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, client_id: client_id.to_owned().into(), next_correlation_id: 0 })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        let mut writer = Writer::frame();
        let header = RequestHeader {
            request_api_key: R::API as i16,
            request_api_version: version,
            correlation_id,
            client_id: Some(self.client_id.clone()),
        };
        header.encode(&mut writer, R::API.request_header_version(version)).map_err(invalid)?;
        request.encode(&mut writer, version).map_err(invalid)?;
        self.socket.write_all(&writer.into_frame().map_err(invalid)?.concat())?;

        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let mut answer = vec![0; length.ok_or_else(|| invalid("the size of an answer is impossible"))?];
        self.socket.read_exact(&mut answer)?;
        let mut reader = Reader::new(Bytes::from(answer));
        let header = ResponseHeader::decode(&mut reader, R::API.response_header_version(version)).map_err(invalid)?;
        if header.correlation_id != correlation_id {
            return Err(invalid("the answer to another request"));
        }
        R::Response::decode(&mut reader, version).map_err(invalid)
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
