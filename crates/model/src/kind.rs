//! The kinds of record: the one place that says what each is called and in which archives it travels.

/// In which archives a kind travels (rules A2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shipping {
    /// In system archives and in domain archives.
    SystemAndDomain,
    /// In system archives only.
    System,
    /// In no archive: stands in log segments as a digest, sealed under the local KEK.
    Never,
}

/// What carries records away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// An archive or stream of the whole system.
    System,
    /// A domain's archive, whose bodies are sealed anew.
    Domain,
    /// A domain's stream, whose bodies are those of the store: users stay away, for their bodies hold password verifiers (rules A3).
    DomainStream,
}

impl Kind {
    /// Whether it travels in such an archive or stream (rules A2, A3).
    pub fn travels(self, carrier: Carrier) -> bool {
        match self.shipping() {
            Shipping::SystemAndDomain => carrier != Carrier::DomainStream || self != Kind::User,
            Shipping::System => carrier == Carrier::System,
            Shipping::Never => false,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal, $shipping:ident;)*) => {
        /// What a record is. The number is part of the archive format and is never reused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $code,)* }

        impl Kind {
            /// Every kind, by number.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The word used in paths, logs and listings.
            pub fn word(self) -> &'static str {
                match self { $(Kind::$name => $word,)* }
            }

            /// In which archives it travels.
            pub fn shipping(self) -> Shipping {
                match self { $(Kind::$name => Shipping::$shipping,)* }
            }

            /// From the number in a format.
            pub fn from_code(code: u8) -> Option<Kind> {
                match code { $($code => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// A tenant with its quotas; the header of the root domain is the system's.
    Domain = 1, "domains", System;
    /// A person or program that logs in; the body holds the password verifier.
    User = 2, "users", SystemAndDomain;
    /// A named set of users, with the rights that its name gives.
    Group = 3, "groups", SystemAndDomain;
    /// A key with all its versions.
    Key = 4, "keys", SystemAndDomain;
    /// A secret with all its versions.
    Secret = 5, "secrets", SystemAndDomain;
    /// A policy of file encryption clients.
    CtePolicy = 6, "cte_policies", SystemAndDomain;
    /// A set that such policies name: users, processes, resources, signatures.
    CteSet = 7, "cte_sets", SystemAndDomain;
    /// Wraps the data-encryption keys of archives.
    BackupKey = 8, "backupkeys", Never;
    /// The catalogue's line about one archive on demand.
    Backup = 9, "backups", Never;
    /// A long-running operation and how it ended.
    Job = 10, "jobs", Never;
    /// A refresh token's family: who logged in, until when.
    Session = 11, "sessions", Never;
    /// One generation of a domain's key-encryption key, wrapped by the MKEK.
    Kek = 12, "keks", Never;
    /// Secrets of this server alone: JWT key, signing key, certificates.
    Node = 13, "node", Never;
    /// A setting of the system that an archive carries.
    Setting = 14, "settings", System;
    /// Encryptions reserved so far under a key, per version; stands under the key's own id and never goes back.
    Counter = 15, "counters", SystemAndDomain;
    /// A place that keeps archives; the body holds what may create and read there.
    Destination = 16, "destinations", System;
    /// A standing order that protects a domain or the system.
    BackupInstance = 17, "backupinstances", System;
    /// Work that is done by the clock.
    Schedule = 18, "schedules", System;
    /// A host that backups are sent to; the body holds its password.
    Connection = 19, "connections", System;
    /// A program elsewhere that is told of alarms; the body holds its address and what signs for it.
    Webhook = 20, "webhooks", System;
}

impl<C> minicbor::Encode<C> for Kind {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u8(*self as u8)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Kind {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Kind::from_code(d.u8()?).ok_or_else(|| minicbor::decode::Error::message("unknown kind of record").at(at))
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}
