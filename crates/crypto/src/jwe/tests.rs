//! JWE: published vectors, and everything that must be refused before deriving.

use std::num::NonZeroU32;

use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
use base64::engine::{Engine, general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{JweError, Parts, decrypt, encrypt, open_content, pbes2, protected_header};
use crate::Key256;

/// RFC 7517 appendix C: PBES2-HS256+A128KW. The derived key opens the published wrap and gives the published content key.
#[test]
fn rfc_7517_appendix_c_key_derivation_and_unwrap() {
    let salt = URL_SAFE_NO_PAD.decode("2WCTcJZ1Rvd_CJuJripQ1w").unwrap();
    let password = b"Thus from my lips, by yours, my sin is purged.";
    let kek = pbes2::<16>(PBKDF2_HMAC_SHA256, "PBES2-HS256+A128KW", password, &salt, NonZeroU32::new(4096).unwrap());
    assert_eq!(kek.expose(), &[110, 171, 169, 92, 129, 92, 109, 117, 233, 242, 116, 233, 170, 14, 24, 75]);
    let wrapped = URL_SAFE_NO_PAD.decode("TrqXOwuNUfDV9VPTNbyGvEJ9JMjefAVn-TR1uIxR9p6hsRQh9Tk7BA").unwrap();
    let mut cek = [0; 32];
    AesKek::new(&AES_128, kek.expose()).unwrap().unwrap(&wrapped, &mut cek).unwrap();
    assert_eq!(
        cek,
        [
            111, 27, 25, 52, 66, 29, 20, 78, 92, 176, 56, 240, 65, 208, 82, 112, 161, 131, 36, 55, 202, 236, 185, 172,
            129, 23, 153, 194, 195, 48, 253, 182
        ]
    );
}

/// RFC 7516 appendix A.1: content encryption A256GCM with the published content key.
#[test]
fn rfc_7516_appendix_a1_content() {
    let compact = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.AAAA.48V1_ALb6US04U3b.\
        5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ";
    let cek = Key256::new([
        177, 161, 244, 128, 84, 143, 225, 115, 63, 180, 3, 255, 107, 154, 212, 246, 138, 7, 110, 91, 112, 46, 34, 105,
        47, 130, 203, 46, 122, 234, 64, 252,
    ]);
    let parts = Parts::parse(compact).unwrap();
    let text = open_content(&cek, &parts).unwrap();
    assert_eq!(text.expose(), b"The true sign of intelligence is not knowledge but imagination.");
}

/// Made by jwcrypto 1.6.1 with 1000 iterations.
#[test]
fn a_file_of_another_library_opens() {
    let (header, payload) = decrypt(JWCRYPTO, b"correct horse").unwrap();
    assert_eq!(payload.expose(), b"made elsewhere");
    assert_eq!(header["keyid"], "k1");
}

const JWCRYPTO: &str = "eyJhbGciOiJQQkVTMi1IUzUxMitBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIiwia2V5aWQiOiJrMSIsInAyYyI6MTAwMCwicDJzIjoiSFdmWXNDZzIzdmJnZmtFTmRXMm1jdyJ9.0BqpCL2M38I6WyWykqG-NGtXrrKeOAcEqQpqtTurdOydoGTDYalBOw.QRBQQVr70DE5JYia.GUCUX9luvSssRvMpLAw.gQkPm7QRNjmuHPHQdxBETg";

fn made() -> String {
    let extra: Map<String, Value> = json!({"keyid": "k", "hint": "the usual"}).as_object().unwrap().clone();
    encrypt(b"password", &extra, b"payload")
}

#[test]
fn round_trip_with_clear_header() {
    let compact = made();
    assert_eq!(protected_header(&compact).unwrap()["hint"], "the usual");
    let (header, payload) = decrypt(&compact, b"password").unwrap();
    assert_eq!((payload.expose().as_slice(), header["p2c"].as_u64()), (&b"payload"[..], Some(600_000)));
    assert_eq!(decrypt(&compact, b"Password").unwrap_err(), JweError::WrongPassword);
}

fn with_header(change: impl Fn(&mut Map<String, Value>)) -> String {
    let compact = made();
    let mut header = protected_header(&compact).unwrap();
    change(&mut header);
    let rest = compact.split_once('.').unwrap().1;
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(Value::Object(header).to_string()))
}

#[test]
fn dangerous_parameters_are_refused_before_deriving() {
    // Deriving four billion rounds would take hours: that these return at all shows the order.
    let set = |name: &'static str, value: Value| {
        let compact = with_header(|h| drop(h.insert(name.into(), value.clone())));
        decrypt(&compact, b"password").unwrap_err()
    };
    assert_eq!(set("p2c", json!(4_000_000_000u64)), JweError::TooManyIterations(4_000_000_000));
    assert_eq!(set("p2c", json!(10_000_001)), JweError::TooManyIterations(10_000_001));
    assert_eq!(set("p2c", json!(0)), JweError::TooFewIterations);
    assert_eq!(set("p2c", json!("600000")), JweError::TooFewIterations);
    assert_eq!(set("p2s", json!("AAAA")), JweError::Salt);
    assert_eq!(set("p2s", Value::Null), JweError::Salt);
    assert_eq!(set("crit", json!(["exp"])), JweError::Critical);
    assert!(matches!(set("alg", json!("dir")), JweError::Algorithm { name: "alg", .. }));
    assert!(matches!(set("alg", json!("PBES2-HS256+A128KW")), JweError::Algorithm { name: "alg", .. }));
    assert!(matches!(set("enc", json!("A128GCM")), JweError::Algorithm { name: "enc", .. }));
    assert!(matches!(set("zip", json!("DEF")), JweError::Algorithm { name: "zip", .. }));
    assert_eq!(set("keyid", json!("other")), JweError::WrongPassword);
}

#[test]
fn what_is_no_jwe_says_so() {
    for text in [
        "",
        ".",
        "a.b.c.d",
        "!.!.!.!.!",
        "e30.....",
        "eyJhIjoxLCJhIjoyfQ.AAAA.AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert!(matches!(decrypt(text, b""), Err(JweError::Malformed(_))), "{text}");
    }
}
