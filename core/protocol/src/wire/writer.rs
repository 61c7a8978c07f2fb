//! The writer: small fields into one growing buffer, payloads as slices of their own.

use bytes::{BufMut, Bytes, BytesMut};

use super::{EncodeError, EncodeErrorKind, KafkaString};

/// Payloads from this length on are passed on as they are; below it a copy costs less than one more slice to send.
pub const SPLICE_BYTES_MIN: usize = 1024;

/// Longest string on the wire, in bytes.
const STRING_BYTES_MAX: usize = 0x7fff;

/// Most bytes that a [`stand_in`] can stand for.
pub const STAND_IN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Never read and never written, so it takes address space and no memory.
static STAND_IN: [u8; STAND_IN_BYTES_MAX] = [0; STAND_IN_BYTES_MAX];

/// Takes the place of so many bytes of a payload that will be sent from elsewhere, such as from a file. A writer notes
/// where it stands and gives that place away in [`Writer::into_frame_pieces`]; its own bytes never leave. `None` if
/// that is nothing or more than [`STAND_IN_BYTES_MAX`].
#[must_use]
pub fn stand_in(length: usize) -> Option<Bytes> {
    STAND_IN.get(..length).filter(|bytes| !bytes.is_empty()).map(Bytes::from_static)
}

fn is_stand_in(bytes: &Bytes) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// A piece of what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenPiece {
    /// Bytes.
    Bytes(Bytes),
    /// Here belong so many bytes from elsewhere.
    StandIn {
        /// How many.
        length: usize,
    },
}

/// Gathers an encoded value as a list of slices.
///
/// `flexible` says in which of its two forms a length is written, as for [`Reader`](super::Reader).
#[derive(Debug, Default)]
pub struct Writer {
    /// Everything small, in order.
    small: BytesMut,
    /// Payloads, each with the length of `small` before it; these lengths never decrease.
    spliced: Vec<(usize, Bytes)>,
    spliced_bytes: usize,
    field: &'static str,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `bytes` of small fields.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { small: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    /// A writer that starts with room for a frame's size, which [`into_frame`](Self::into_frame) fills in.
    #[must_use]
    pub fn frame() -> Self {
        let mut writer = Self::with_capacity(256);
        writer.i32(0);
        writer
    }

    /// Bytes written so far, payloads included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.len() + self.spliced_bytes
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written, as slices in order; none is empty.
    ///
    /// # Panics
    /// A [`stand_in`] was written: what it stands for would be lost.
    #[must_use]
    pub fn into_slices(self) -> Vec<Bytes> {
        let bytes = |piece| match piece {
            WrittenPiece::Bytes(bytes) => bytes,
            WrittenPiece::StandIn { length } => panic!("{length} bytes from elsewhere among slices"),
        };
        self.into_pieces().into_iter().map(bytes).collect()
    }

    fn into_pieces(self) -> Vec<WrittenPiece> {
        let mut rest = self.small.freeze();
        let mut pieces = Vec::with_capacity(2 * self.spliced.len() + 1);
        let mut cut = 0;
        for (position, payload) in self.spliced {
            if position > cut {
                pieces.push(WrittenPiece::Bytes(rest.split_to(position - cut)));
                cut = position;
            }
            pieces.push(if is_stand_in(&payload) {
                WrittenPiece::StandIn { length: payload.len() }
            } else {
                WrittenPiece::Bytes(payload)
            });
        }
        if !rest.is_empty() {
            pieces.push(WrittenPiece::Bytes(rest));
        }
        pieces
    }

    /// What was written since [`frame`](Self::frame), with the frame's size in front, as slices in order.
    ///
    /// # Errors
    /// The frame is beyond `i32::MAX` bytes.
    pub fn into_frame(self) -> Result<Vec<Bytes>, EncodeError> {
        Ok(self.with_size()?.into_slices())
    }

    /// As [`into_frame`](Self::into_frame), with the places of what [`stand_in`] stood for.
    ///
    /// # Errors
    /// The frame is beyond `i32::MAX` bytes.
    pub fn into_frame_pieces(self) -> Result<Vec<WrittenPiece>, EncodeError> {
        Ok(self.with_size()?.into_pieces())
    }

    fn with_size(mut self) -> Result<Self, EncodeError> {
        let length = self.len().saturating_sub(4);
        let size = i32::try_from(length).map_err(|_| self.error(EncodeErrorKind::TooLong { length }))?;
        if let Some(prefix) = self.small.first_chunk_mut::<4>() {
            *prefix = size.to_be_bytes();
        }
        Ok(self)
    }

    /// What was written, as one run of bytes; copies if there are payloads.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.spliced.is_empty() {
            return self.small.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for slice in self.into_slices() {
            whole.extend_from_slice(&slice);
        }
        whole.freeze()
    }

    /// Names the field that is written next, for errors.
    #[inline]
    pub fn field(&mut self, field: &'static str) -> &mut Self {
        self.field = field;
        self
    }

    /// The error `kind` in the field that was named last.
    #[cold]
    #[must_use]
    pub fn error(&self, kind: EncodeErrorKind) -> EncodeError {
        EncodeError { kind, field: self.field }
    }

    /// One bit of truth in a byte.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    /// Sixteen raw bytes of an identity.
    #[inline]
    pub fn uuid(&mut self, value: &[u8; 16]) {
        self.small.extend_from_slice(value);
    }

    /// Bytes as they are, without a length; copied.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// An unsigned integer in groups of seven bits, lowest first.
    #[inline]
    pub fn unsigned_varint(&mut self, value: u32) {
        self.varint_groups(u64::from(value));
    }

    /// A signed 32-bit integer in zigzag form, as records have it.
    #[inline]
    pub fn varint(&mut self, value: i32) {
        self.unsigned_varint(((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    /// A signed 64-bit integer in zigzag form, as records have it.
    #[inline]
    pub fn varlong(&mut self, value: i64) {
        self.varint_groups(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Text.
    ///
    /// # Errors
    /// More than 32767 bytes.
    pub fn string(&mut self, text: &str, flexible: bool) -> Result<(), EncodeError> {
        let length = text.len();
        if length > STRING_BYTES_MAX {
            return Err(self.error(EncodeErrorKind::TooLong { length }));
        }
        if flexible {
            self.compact_length(length)?;
        } else {
            self.i16(i16::try_from(length).map_err(|_| self.error(EncodeErrorKind::TooLong { length }))?);
        }
        self.raw(text.as_bytes());
        Ok(())
    }

    /// Text or null.
    ///
    /// # Errors
    /// More than 32767 bytes.
    pub fn nullable_string(&mut self, text: Option<&KafkaString>, flexible: bool) -> Result<(), EncodeError> {
        match text {
            Some(text) => self.string(text, flexible),
            None if flexible => {
                self.unsigned_varint(0);
                Ok(())
            }
            None => {
                self.i16(-1);
                Ok(())
            }
        }
    }

    /// Opaque bytes or record batches: from [`SPLICE_BYTES_MIN`] on, a slice of their own.
    ///
    /// # Errors
    /// More than `i32::MAX` bytes.
    pub fn bytes(&mut self, bytes: &Bytes, flexible: bool) -> Result<(), EncodeError> {
        self.array_length(bytes.len(), flexible)?;
        self.splice(bytes);
        Ok(())
    }

    /// Opaque bytes, record batches, or null.
    ///
    /// # Errors
    /// More than `i32::MAX` bytes.
    pub fn nullable_bytes(&mut self, bytes: Option<&Bytes>, flexible: bool) -> Result<(), EncodeError> {
        match bytes {
            Some(bytes) => self.bytes(bytes, flexible),
            None => {
                self.null_array(flexible);
                Ok(())
            }
        }
    }

    /// Bytes as they are, without a length: from [`SPLICE_BYTES_MIN`] on, a slice of their own.
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN && !is_stand_in(bytes) {
            self.raw(bytes);
        } else {
            self.spliced.push((self.small.len(), bytes.clone()));
            self.spliced_bytes += bytes.len();
        }
    }

    /// The number of elements that follow.
    ///
    /// # Errors
    /// More than `i32::MAX`.
    pub fn array_length(&mut self, length: usize, flexible: bool) -> Result<(), EncodeError> {
        if flexible {
            return self.compact_length(length);
        }
        let length = i32::try_from(length).map_err(|_| self.error(EncodeErrorKind::TooLong { length }))?;
        self.i32(length);
        Ok(())
    }

    /// Null in place of an array or of bytes.
    pub fn null_array(&mut self, flexible: bool) {
        if flexible {
            self.unsigned_varint(0);
        } else {
            self.i32(-1);
        }
    }

    /// Elements, each written by `element`.
    ///
    /// # Errors
    /// More than `i32::MAX` elements, or what `element` says.
    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.array_length(elements.len(), flexible)?;
        elements.iter().try_for_each(|value| element(self, value))
    }

    /// Elements, each written by `element`, or null.
    ///
    /// # Errors
    /// More than `i32::MAX` elements, or what `element` says.
    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&Vec<T>>,
        flexible: bool,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match elements {
            Some(elements) => self.array(elements, flexible, element),
            None => {
                self.null_array(flexible);
                Ok(())
            }
        }
    }

    /// Leaves out a field that this version lacks, if it has its default.
    pub(crate) fn omit(&self, is_default: bool, version: i16) -> Result<(), EncodeError> {
        if is_default { Ok(()) } else { Err(self.error(EncodeErrorKind::FieldNotInVersion { version })) }
    }

    /// The value of a field that must not be null in this version.
    pub(crate) fn required<'a, T>(&self, value: Option<&'a T>) -> Result<&'a T, EncodeError> {
        value.ok_or_else(|| self.error(EncodeErrorKind::UnexpectedNull))
    }

    /// The byte before a nullable struct.
    pub fn presence(&mut self, present: bool) {
        self.i8(if present { 1 } else { -1 });
    }

    /// One tagged field (KIP-482): tag, size, and what `value` writes.
    ///
    /// # Errors
    /// What `value` says, or a field beyond `i32::MAX` bytes.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unsigned_varint(tag);
        let start = self.small.len();
        let length_before = self.len();
        let spliced_before = self.spliced.len();
        value(self)?;
        // The size is known only now and comes first: what was written moves up by its one to five bytes.
        let length = self.len() - length_before;
        let size = u32::try_from(length).map_err(|_| self.error(EncodeErrorKind::TooLong { length }))?;
        let end = self.small.len();
        self.unsigned_varint(size);
        let size_bytes = self.small.len() - end;
        if let Some(written) = self.small.get_mut(start..) {
            written.rotate_right(size_bytes);
        }
        for (position, _) in self.spliced.iter_mut().skip(spliced_before) {
            *position += size_bytes;
        }
        Ok(())
    }

    /// Groups of seven bits, lowest first, all but the last marked.
    #[inline]
    fn varint_groups(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.small.put_u8(low & 0x7f);
                return;
            }
            self.small.put_u8(low | 0x80);
        }
    }

    /// A length written as one more than it is, so that 0 can be null.
    fn compact_length(&mut self, length: usize) -> Result<(), EncodeError> {
        let too_long = EncodeErrorKind::TooLong { length };
        match i32::try_from(length) {
            Ok(length) => self.unsigned_varint(length.cast_unsigned() + 1),
            Err(_) => return Err(self.error(too_long)),
        }
        Ok(())
    }
}

macro_rules! big_endian {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        impl Writer {
            $(
                $(#[$meta])*
                #[inline]
                pub fn $name(&mut self, value: $name) {
                    self.small.extend_from_slice(&value.to_be_bytes());
                }
            )*
        }
    };
}

big_endian!(
    /// A signed byte.
    i8,
    /// A signed 16-bit integer.
    i16,
    /// A signed 32-bit integer.
    i32,
    /// A signed 64-bit integer.
    i64,
    /// An unsigned 16-bit integer.
    u16,
    /// An unsigned 32-bit integer.
    u32,
    /// A 64-bit floating-point number.
    f64,
);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    fn written(write: impl FnOnce(&mut Writer)) -> Bytes {
        let mut writer = Writer::new();
        write(&mut writer);
        writer.into_bytes()
    }

    fn payload(length: usize) -> Bytes {
        vec![7; length].into()
    }

    #[test]
    fn varints_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1_i64 << shift, (1_i64 << shift).wrapping_sub(1), -1_i64 << shift] {
                let bytes = written(|writer| writer.varlong(value));
                assert_eq!(Reader::new(bytes).varlong(), Ok(value));
                let Ok(value) = i32::try_from(value) else { continue };
                let bytes = written(|writer| writer.varint(value));
                assert_eq!(Reader::new(bytes).varint(), Ok(value));
                let bytes = written(|writer| writer.unsigned_varint(value.cast_unsigned()));
                assert_eq!(Reader::new(bytes).unsigned_varint(), Ok(value.cast_unsigned()));
            }
        }
        assert_eq!(written(|writer| writer.unsigned_varint(300))[..], [0xac, 0x02]);
        assert_eq!(written(|writer| writer.varint(-1))[..], [0x01]);
    }

    #[test]
    fn only_large_payloads_become_slices() {
        for (length, slices) in [(0, 1), (SPLICE_BYTES_MIN - 1, 1), (SPLICE_BYTES_MIN, 2)] {
            let mut writer = Writer::new();
            writer.bytes(&payload(length), false).unwrap();
            assert_eq!(writer.len(), 4 + length);
            assert_eq!(writer.into_slices().len(), slices, "{length}");
        }
    }

    #[test]
    fn a_stand_in_keeps_its_place_and_its_length_in_the_frame() {
        let mut writer = Writer::frame();
        writer.i16(7);
        for length in [1, SPLICE_BYTES_MIN] {
            writer.splice(&stand_in(length).unwrap());
        }
        writer.i8(9);
        let size = u32::try_from(2 + 1 + SPLICE_BYTES_MIN + 1).unwrap().to_be_bytes();
        let expected = [
            WrittenPiece::Bytes(Bytes::from([&size[..], &[0, 7]].concat())),
            WrittenPiece::StandIn { length: 1 },
            WrittenPiece::StandIn { length: SPLICE_BYTES_MIN },
            WrittenPiece::Bytes(Bytes::from_static(&[9])),
        ];
        assert_eq!(writer.into_frame_pieces().unwrap(), expected);
        assert_eq!(stand_in(0), None);
        assert_eq!(stand_in(STAND_IN_BYTES_MAX + 1), None);
    }

    #[test]
    #[should_panic(expected = "from elsewhere")]
    fn a_stand_in_is_never_sent_as_bytes() {
        let mut writer = Writer::new();
        writer.splice(&stand_in(5).unwrap());
        let _ = writer.into_slices();
    }

    #[test]
    fn slices_keep_the_order_in_which_they_were_written() {
        let mut writer = Writer::frame();
        let large = payload(SPLICE_BYTES_MIN);
        writer.splice(&large);
        writer.splice(&large);
        writer.i8(1);
        writer.splice(&large);
        let slices = writer.into_frame().unwrap();
        let lengths: Vec<_> = slices.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [4, large.len(), large.len(), 1, large.len()]);
        assert_eq!(slices.first().unwrap()[..], (3 * 1024_u32 + 1).to_be_bytes());
    }

    #[test]
    fn the_size_of_a_tagged_field_is_put_before_it_whatever_its_length() {
        for length in [0, 126, 127, 128, SPLICE_BYTES_MIN, 20_000] {
            let bytes = written(|writer| {
                writer.i8(9);
                let value = |writer: &mut Writer| {
                    writer.raw(b"<");
                    writer.splice(&payload(length));
                    writer.raw(b">");
                    Ok(())
                };
                writer.tagged_field(5, value).unwrap();
                writer.i8(9);
            });
            let mut reader = Reader::new(bytes);
            assert_eq!((reader.i8(), reader.unsigned_varint()), (Ok(9), Ok(5)));
            assert_eq!(reader.unsigned_varint(), Ok(u32::try_from(length + 2).unwrap()));
            let expected = [b"<", &payload(length)[..], b">"].concat();
            assert_eq!(reader.take(length + 2).unwrap(), expected);
            assert_eq!((reader.i8(), reader.finish()), (Ok(9), Ok(())));
        }
    }

    #[test]
    fn a_string_beyond_its_limit_is_refused_in_both_forms() {
        let (longest, too_long) = ("x".repeat(32767), "x".repeat(32768));
        for flexible in [false, true] {
            let mut writer = Writer::new();
            assert_eq!(writer.string(&longest, flexible), Ok(()));
            let error = writer.field("Thing.name").string(&too_long, flexible).unwrap_err();
            assert_eq!(error.to_string(), "Thing.name: length 32768 is too long");
        }
    }
}
