//! The APIs that requests name by number.

use std::ops::RangeInclusive;

macro_rules! api_keys {
    ($($name:ident = $key:literal, versions $versions:expr, stable to $stable:literal, flexible from $flexible:literal;)*) => {
        /// An API, with the key that requests name it by.
        ///
        /// What the codec knows, not what a broker offers: the old versions that Kafka 4 dropped are here too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ", versions ", stringify!($versions), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every API, by key.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The API with this key.
            #[must_use]
            pub const fn from_i16(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name for it, as in `Produce`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Every version that can be encoded and decoded.
            #[must_use]
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $versions,)*
                }
            }

            /// The newest version that may be advertised; one above it is still unstable in Kafka.
            #[must_use]
            pub const fn newest_stable_version(self) -> i16 {
                match self {
                    $(Self::$name => $stable,)*
                }
            }

            /// The first version with compact lengths and tagged fields; `i16::MAX` if there is none.
            const fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/api_keys.rs"));

impl ApiKey {
    /// Whether lengths are compact and tagged fields allowed in this version (KIP-482).
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// The version of [`RequestHeader`](crate::messages::RequestHeader) before a request of this version.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of [`ResponseHeader`](crate::messages::ResponseHeader) before a response of this version.
    ///
    /// ApiVersions stays at 0 for ever: its client does not know yet what the broker speaks (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Self::ApiVersions) { 1 } else { 0 }
    }
}
