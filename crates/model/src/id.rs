//! Identifiers: UUIDs with a type each, so that a domain is never taken for a key.

use std::fmt;

use uuid::Uuid;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(s).map($name)
            }
        }

        impl $name {
            /// The 16 bytes, in network order: the form that is stored and hashed.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the 16 stored bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(Uuid::from_bytes(bytes))
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                let bytes: [u8; 16] = d
                    .bytes()?
                    .try_into()
                    .map_err(|_| minicbor::decode::Error::message("an id is 16 bytes").at(at))?;
                Ok($name::from_bytes(bytes))
            }
        }
    };
}

identifier!(
    /// A record's id, unique within its kind; UUIDv7 when made here, any UUID when imported.
    Id
);
identifier!(
    /// A tenant.
    DomainId
);
identifier!(
    /// One installation of Keyark through all its restores.
    SystemId
);
identifier!(
    /// One life of a system: new at first start and at every system restore.
    Incarnation
);
identifier!(
    /// One archive file.
    ArchiveId
);

impl DomainId {
    /// The root domain, which holds the system.
    pub const ROOT: DomainId = DomainId(Uuid::nil());
}
