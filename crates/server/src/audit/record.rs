//! A usage record: who did what to which thing and how it ended; with its one form in CBOR.

use std::borrow::Cow;
use std::net::IpAddr;

use keyark_model::{DomainId, Id, Time};
use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};

/// The version number at the front of an encoded record.
const VERSION: u8 = 1;
/// Bytes kept of a text that a caller chose.
const LONGEST_TEXT: usize = 256;

/// Who or what a record names. An id costs nothing to note; it is written out when somebody reads the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Named {
    #[default]
    Nothing,
    Id(Id),
    Text(String),
}

impl Named {
    /// Text of a caller, cut to what is worth keeping.
    pub fn text(text: &str) -> Named {
        match text.char_indices().map(|(at, _)| at).find(|at| *at >= LONGEST_TEXT) {
            _ if text.is_empty() => Named::Nothing,
            Some(end) => Named::Text(text[..end].into()),
            None => Named::Text(text.into()),
        }
    }

    /// As people read it; empty for nothing.
    pub fn shown(&self) -> String {
        match self {
            Named::Nothing => String::new(),
            Named::Id(id) => id.to_string(),
            Named::Text(text) => text.clone(),
        }
    }
}

/// One read, cryptographic operation, login or denied attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    pub time: Time,
    /// Whose auditors see it; root while the caller is unknown.
    pub domain: DomainId,
    /// The user.
    pub actor: Named,
    /// The operation, as `noun_verb`.
    pub action: Cow<'static, str>,
    /// What it was done to.
    pub target: Named,
    pub success: bool,
    /// Number of the error code; 0 for success.
    pub code: u32,
    pub request_id: String,
    pub source: Option<IpAddr>,
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

impl UsageRecord {
    /// Appends the record's CBOR.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(&mut Encoder::new(out)).expect("writing to a vector cannot fail");
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Written {
        e.array(10)?.u8(VERSION)?.i64(self.time.0)?.encode(self.domain)?;
        write_named(e, &self.actor)?;
        e.str(&self.action)?;
        write_named(e, &self.target)?;
        e.bool(self.success)?.u32(self.code)?.str(&self.request_id)?;
        match self.source {
            None => e.null()?,
            Some(IpAddr::V4(ip)) => e.bytes(&ip.octets())?,
            Some(IpAddr::V6(ip)) => e.bytes(&ip.octets())?,
        };
        Ok(())
    }

    /// Reads the next record of a batch.
    pub fn decode(d: &mut Decoder<'_>) -> Result<UsageRecord, Error> {
        if d.array()? != Some(10) || d.u8()? != VERSION {
            return Err(Error::message("not a usage record of version 1"));
        }
        Ok(UsageRecord {
            time: Time(d.i64()?),
            domain: d.decode()?,
            actor: read_named(d)?,
            action: Cow::Owned(d.str()?.to_owned()),
            target: read_named(d)?,
            success: d.bool()?,
            code: d.u32()?,
            request_id: d.str()?.to_owned(),
            source: read_source(d)?,
        })
    }
}

fn write_named(e: &mut Encoder<&mut Vec<u8>>, named: &Named) -> Written {
    match named {
        Named::Nothing => e.null()?,
        Named::Id(id) => e.encode(*id)?,
        Named::Text(text) => e.str(text)?,
    };
    Ok(())
}

fn read_named(d: &mut Decoder<'_>) -> Result<Named, Error> {
    match d.datatype()? {
        Type::Null => d.null().map(|()| Named::Nothing),
        Type::Bytes => Ok(Named::Id(d.decode()?)),
        Type::String => Ok(Named::Text(d.str()?.to_owned())),
        _ => Err(Error::message("a name is null, an id or text")),
    }
}

fn read_source(d: &mut Decoder<'_>) -> Result<Option<IpAddr>, Error> {
    if d.datatype()? == Type::Null {
        return d.null().map(|()| None);
    }
    let bytes = d.bytes()?;
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Some(v4.into()));
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| Error::message("an address has 4 or 16 bytes"))?;
    Ok(Some(v6.into()))
}

#[cfg(test)]
mod tests {
    use keyark_model::{DomainId, Id, Time};
    use minicbor::Decoder;

    use super::{LONGEST_TEXT, Named, UsageRecord};

    #[test]
    fn records_are_read_back_one_after_the_other_and_cut_ones_are_refused() {
        let first = UsageRecord {
            time: Time(-1),
            domain: DomainId::from_bytes([7; 16]),
            actor: Named::Id(Id::from_bytes([1; 16])),
            action: "encrypt".into(),
            target: Named::text("a key"),
            success: false,
            code: 16,
            request_id: "r-1".into(),
            source: Some("::1".parse().unwrap()),
        };
        let second = UsageRecord {
            actor: Named::Nothing,
            target: Named::Nothing,
            source: Some("127.0.0.9".parse().unwrap()),
            success: true,
            code: 0,
            ..first.clone()
        };
        let mut bytes = Vec::new();
        first.encode(&mut bytes);
        second.encode(&mut bytes);
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(UsageRecord::decode(&mut decoder).unwrap(), first);
        assert_eq!(UsageRecord::decode(&mut decoder).unwrap(), second);
        assert_eq!(decoder.position(), bytes.len());
        let mut one = Vec::new();
        first.encode(&mut one);
        for end in 0..one.len() {
            assert!(UsageRecord::decode(&mut Decoder::new(&one[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ü".repeat(LONGEST_TEXT);
        let Named::Text(kept) = Named::text(&long) else { panic!("text stays text") };
        assert!(kept.len() <= LONGEST_TEXT && long.starts_with(&kept) && kept.len() >= LONGEST_TEXT - 4);
        assert_eq!(Named::text("").shown(), "");
        assert_eq!(Named::text("x").shown(), "x");
    }
}
