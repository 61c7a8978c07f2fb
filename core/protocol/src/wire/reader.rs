//! The bounded reader of everything that a peer or a disk hands over.

use bytes::Bytes;

use super::{DecodeError, DecodeErrorKind, KafkaString};

/// Longest string on the wire, in bytes; the compact form could say more but Kafka refuses it.
const STRING_BYTES_MAX: usize = 0x7fff;

/// Walks one frame from front to back.
///
/// `flexible` says in which of its two forms a length is written: fixed-size, or since KIP-482 as a variable-length
/// integer that is one more than the length, with 0 for null.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    /// Where reading must stop: the end of the bytes, or of the tagged field that is being read.
    end: usize,
    field: &'static str,
}

impl Reader {
    /// A reader at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let end = bytes.len();
        Self { bytes, position: 0, end, field: "" }
    }

    /// Names the field that is read next, for errors.
    #[inline]
    pub fn field(&mut self, field: &'static str) -> &mut Self {
        self.field = field;
        self
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes that may still be read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.position)
    }

    /// The error `kind` at this place.
    #[cold]
    #[must_use]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { kind, position: self.position, field: self.field }
    }

    /// Insists that everything was read. Kafka wants this of its stored records; of requests it does not.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(self.error(DecodeErrorKind::TrailingBytes { count })),
        }
    }

    /// The next `length` bytes, as a range of the frame.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let end = self.advance(length)?;
        // Within bounds: `advance` has checked against `end`, which is never beyond the bytes.
        Ok(self.bytes.slice(end - length..end))
    }

    /// Passes over `length` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        self.advance(length).map(drop)
    }

    #[inline]
    fn advance(&mut self, length: usize) -> Result<usize, DecodeError> {
        let remaining = self.remaining();
        if length > remaining {
            return Err(self.error(DecodeErrorKind::Truncated { needed: length, remaining }));
        }
        self.position += length;
        Ok(self.position)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let remaining = self.remaining();
        match self.bytes.get(self.position..self.end).and_then(|rest| rest.first_chunk::<N>()) {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.error(DecodeErrorKind::Truncated { needed: N, remaining })),
        }
    }

    /// One bit of truth in a byte; every value but 0 is true.
    ///
    /// # Errors
    /// No byte is left.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// Sixteen raw bytes of an identity.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.fixed()
    }

    /// An unsigned integer in groups of seven bits, lowest first.
    ///
    /// # Errors
    /// It is cut off, or has more than 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::VarintTooLong))
    }

    /// A signed 32-bit integer in zigzag form, as records have it.
    ///
    /// # Errors
    /// It is cut off, or has more than 32 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let raw = self.unsigned_varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A signed 64-bit integer in zigzag form, as records have it.
    ///
    /// # Errors
    /// It is cut off, or has more than 64 bits.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let mut raw: u64 = 0;
        for shift in (0..70).step_by(7) {
            let [byte] = self.fixed()?;
            if shift == 63 && byte > 1 {
                break;
            }
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
            }
        }
        Err(self.error(DecodeErrorKind::VarintTooLong))
    }

    /// Text; never null.
    ///
    /// # Errors
    /// Null, too long, or cut off.
    pub fn string(&mut self, flexible: bool) -> Result<KafkaString, DecodeError> {
        let text = self.nullable_string(flexible)?;
        text.ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// Text or null. What is not UTF-8 in it becomes U+FFFD, as in Kafka: some clients name themselves in Latin-1.
    ///
    /// # Errors
    /// Too long or cut off.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<KafkaString>, DecodeError> {
        let length = if flexible { self.compact_length()? } else { usize::try_from(self.i16()?).ok() };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > STRING_BYTES_MAX {
            return Err(self.error(DecodeErrorKind::StringTooLong { length }));
        }
        Ok(Some(KafkaString::from_utf8_lossy(self.take(length)?)))
    }

    /// Opaque bytes or record batches; never null.
    ///
    /// # Errors
    /// Null or cut off.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        let bytes = self.nullable_bytes(flexible)?;
        bytes.ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// Opaque bytes, record batches, or null.
    ///
    /// # Errors
    /// Cut off.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let length = if flexible { self.compact_length()? } else { usize::try_from(self.i32()?).ok() };
        length.map(|length| self.take(length)).transpose()
    }

    /// Elements, each read by `element`; never null.
    ///
    /// `element_bytes_min` is the least that one element takes on the wire, at least 1: memory is reserved for no more
    /// elements than could be there.
    ///
    /// # Errors
    /// Null, more elements than bytes, or what `element` says.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let elements = self.nullable_array(flexible, element_bytes_min, element)?;
        elements.ok_or_else(|| self.error(DecodeErrorKind::UnexpectedNull))
    }

    /// Elements, each read by `element`, or null. See [`array`](Self::array).
    ///
    /// # Errors
    /// More elements than bytes, or what `element` says.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let count = if flexible { self.compact_length()? } else { usize::try_from(self.i32()?).ok() };
        let Some(count) = count else {
            return Ok(None);
        };
        let remaining = self.remaining();
        if count.saturating_mul(element_bytes_min.max(1)) > remaining {
            return Err(self.error(DecodeErrorKind::CountTooLarge { count, remaining }));
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// Whether a nullable struct follows: −1 is null, 1 announces it.
    ///
    /// # Errors
    /// No byte is left.
    pub fn is_present(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? >= 0)
    }

    /// The tagged fields at the end of a flexible struct (KIP-482).
    ///
    /// `known` reads the field of a tag that it knows and says true; what it does not know is passed over, as a newer
    /// peer may send it.
    ///
    /// # Errors
    /// Cut off, a field that is not as long as it says, or what `known` says.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = usize::try_from(self.unsigned_varint()?).unwrap_or(usize::MAX);
            let remaining = self.remaining();
            if size > remaining {
                return Err(self.error(DecodeErrorKind::Truncated { needed: size, remaining }));
            }
            let outer_end = self.end;
            self.end = self.position + size;
            if !known(tag, self)? {
                self.position = self.end;
            }
            let unread = self.remaining();
            if unread > 0 {
                return Err(self.error(DecodeErrorKind::TaggedFieldSize { unread }));
            }
            self.end = outer_end;
        }
        Ok(())
    }

    /// A length written as one more than it is, with 0 for null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let raw = self.unsigned_varint()?;
        Ok(raw.checked_sub(1).map(|length| usize::try_from(length).unwrap_or(usize::MAX)))
    }
}

macro_rules! big_endian {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        impl Reader {
            $(
                $(#[$meta])*
                ///
                /// # Errors
                /// Too few bytes are left.
                #[inline]
                pub fn $name(&mut self) -> Result<$name, DecodeError> {
                    self.fixed().map($name::from_be_bytes)
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

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    fn kind<T>(result: Result<T, DecodeError>) -> Option<DecodeErrorKind> {
        result.err().map(|error| error.kind)
    }

    #[test]
    fn an_error_names_the_field_the_place_and_the_lack() {
        let mut reader = reader(&[0, 1, 2, 3, 4]);
        assert_eq!(reader.field("Thing.first").i32().unwrap(), 0x0001_0203);
        let error = reader.field("Thing.second").i16().unwrap_err();
        assert_eq!((error.field, error.position), ("Thing.second", 4));
        assert_eq!(error.to_string(), "Thing.second at byte 4: needs 2 bytes, 1 are left");
    }

    #[test]
    fn integers_are_big_endian_and_cut_ones_are_refused() {
        assert_eq!(reader(&[0xff, 0xfe]).i16(), Ok(-2));
        assert_eq!(reader(&[0xff, 0xfe]).u16(), Ok(0xfffe));
        assert_eq!(reader(&[0x80, 0, 0, 0]).u32(), Ok(1 << 31));
        assert_eq!(reader(&[0x80, 0, 0, 0, 0, 0, 0, 0]).i64(), Ok(i64::MIN));
        assert_eq!(reader(&[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]).f64(), Ok(1.5));
        assert_eq!(reader(&[2]).bool(), Ok(true));
        assert_eq!(kind(reader(&[0; 7]).i64()), Some(DecodeErrorKind::Truncated { needed: 8, remaining: 7 }));
        assert_eq!(kind(reader(&[0; 15]).uuid()), Some(DecodeErrorKind::Truncated { needed: 16, remaining: 15 }));
    }

    #[test]
    fn varints_take_all_their_bits_and_not_one_more() {
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
        assert_eq!(
            kind(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint()),
            Some(DecodeErrorKind::VarintTooLong)
        );
        assert_eq!(kind(reader(&[0x80; 9]).unsigned_varint()), Some(DecodeErrorKind::VarintTooLong));
        assert_eq!(kind(reader(&[0x80]).varint()), Some(DecodeErrorKind::Truncated { needed: 1, remaining: 0 }));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MIN));
        assert_eq!(reader(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MAX));
        let longest = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(reader(longest).varlong(), Ok(i64::MIN));
        assert_eq!(kind(reader(&[0xff; 11]).varlong()), Some(DecodeErrorKind::VarintTooLong));
        // Longer than it need be, which Kafka reads too.
        assert_eq!(reader(&[0x81, 0x00]).unsigned_varint(), Ok(1));
    }

    #[test]
    fn lengths_are_compared_with_what_is_left() {
        let truncated = |needed, remaining| Some(DecodeErrorKind::Truncated { needed, remaining });
        assert_eq!(kind(reader(&[0x7f, 0xff, 0x61]).string(false)), truncated(0x7fff, 1));
        assert_eq!(kind(reader(&[0x7f, 0xff, 0xff, 0xff]).bytes(false)), truncated(0x7fff_ffff, 0));
        assert_eq!(kind(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).bytes(true)), truncated(0xffff_fffe, 0));
        let too_long = Some(DecodeErrorKind::StringTooLong { length: 0x8000 });
        assert_eq!(kind(reader(&[0x81, 0x80, 0x02]).string(true)), too_long);
        assert_eq!(kind(reader(&[9]).skip(2)), truncated(2, 1));
    }

    #[test]
    fn a_count_is_believed_only_if_its_elements_could_be_there() {
        let too_large = |count, remaining| Some(DecodeErrorKind::CountTooLarge { count, remaining });
        assert_eq!(kind(reader(&[0, 0, 0, 2, 0, 0, 0, 0]).array(false, 4, Reader::i32)), too_large(2, 4));
        assert_eq!(kind(reader(&[0x7f, 0xff, 0xff, 0xff, 1]).array(false, 1, Reader::i8)), too_large(0x7fff_ffff, 1));
        assert_eq!(kind(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).array(true, 0, Reader::i8)), too_large(0xffff_fffe, 0));
        assert_eq!(reader(&[3, 5, 6]).array(true, 1, Reader::i8), Ok(vec![5, 6]));
    }

    #[test]
    fn null_has_two_forms_and_is_refused_where_it_means_nothing() {
        assert_eq!(reader(&[0xff, 0xff]).nullable_string(false), Ok(None));
        assert_eq!(reader(&[0]).nullable_string(true), Ok(None));
        assert_eq!(reader(&[0xff; 4]).nullable_bytes(false), Ok(None));
        assert_eq!(reader(&[0xff; 4]).nullable_array(false, 1, Reader::i8), Ok(None));
        let null = Some(DecodeErrorKind::UnexpectedNull);
        assert_eq!(kind(reader(&[0]).string(true)), null);
        assert_eq!(kind(reader(&[0xff; 4]).bytes(false)), null);
        assert_eq!(kind(reader(&[0]).array(true, 1, Reader::i8)), null);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(reader(&[0, 2, 0xc3, 0xa9]).string(false).unwrap(), "é");
        assert_eq!(reader(&[0, 2, 0xe9, b'a']).string(false).unwrap(), "\u{fffd}a");
    }

    #[test]
    fn a_tagged_field_cannot_reach_beyond_its_size() {
        // Tag 0 says two bytes, and its reader wants four; four are there, but two of them are not its own.
        let mut reader = reader(&[1, 0, 2, 1, 2, 3, 4]);
        let result = reader.tagged_fields(|_, reader| reader.i32().map(|_| true));
        assert_eq!(kind(result), Some(DecodeErrorKind::Truncated { needed: 4, remaining: 2 }));
    }

    #[test]
    fn what_is_left_is_an_error_only_to_who_asks() {
        let mut reader = reader(&[1, 2]);
        reader.i8().unwrap();
        assert_eq!(kind(reader.finish()), Some(DecodeErrorKind::TrailingBytes { count: 1 }));
        reader.i8().unwrap();
        assert_eq!(reader.finish(), Ok(()));
    }
}
