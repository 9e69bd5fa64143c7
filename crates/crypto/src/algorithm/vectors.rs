//! Published test vectors: what other implementations compute, we compute.

use keyark_model::key::{Algorithm, KeySpec};

use super::symmetric::Cipher;
use super::{Format, Material, Scheme, WrapMethod, kem, mac, okp, pem, signature, wrapping};

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn raw(spec: &str, bytes: &[u8]) -> Material {
    Material::import(spec.parse().unwrap(), Format::Raw, bytes).unwrap()
}

/// The Galois/Counter Mode of Operation (McGrew, Viega), test cases 2, 8, 14 and 16; RFC 8439, 2.8.2.
#[test]
fn encryption_as_published() {
    let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let text = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
         b16aedf5aa0de657ba637b39");
    let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    for (spec, key, nonce, aad, text, ciphertext, tag) in [
        (
            "AES-128",
            vec![0; 16],
            "000000000000000000000000",
            vec![],
            vec![0; 16],
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            "AES-192",
            vec![0; 24],
            "000000000000000000000000",
            vec![],
            vec![0; 16],
            "98e7247c07f0fe411c267e4384b0f600",
            "2ff58d80033927ab8ef4d4587514f0fb",
        ),
        (
            "AES-256",
            vec![0; 32],
            "000000000000000000000000",
            vec![],
            vec![0; 16],
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            "AES-256",
            key,
            "cafebabefacedbaddecaf888",
            aad,
            text,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
             c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
        (
            "ChaCha20-Poly1305",
            (0x80..0xa0).collect(),
            "070000004041424344454647",
            hex("50515253c0c1c2c3c4c5c6c7"),
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
              would be it."
                .to_vec(),
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b\
             1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b6116",
            "1ae10b594f09e26a7e902ecbd0600691",
        ),
    ] {
        let cipher = Cipher::new(&raw(spec, &key)).unwrap();
        let nonce: [u8; 12] = hex(nonce).try_into().unwrap();
        let want = [nonce.to_vec(), hex(ciphertext), hex(tag)].concat();
        assert_eq!(cipher.encrypt(nonce, &aad, &text).unwrap(), want, "{spec}");
        assert_eq!(cipher.decrypt(&aad, &want).unwrap().expose(), &text);
    }
}

/// RFC 4231, test case 3: a key of 20 bytes.
#[test]
fn macs_as_published() {
    for (spec, want) in [
        ("HMAC-SHA256-160", "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            "HMAC-SHA384-160",
            "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
        ),
        (
            "HMAC-SHA512-160",
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807\
             b946a337bee8942674278859e13292fb",
        ),
    ] {
        let key = raw(spec, &[0xaa; 20]);
        assert_eq!(mac::mac(&key, &[0xdd; 50]).unwrap(), hex(want), "{spec}");
        mac::verify(&key, &[0xdd; 50], &hex(want)).unwrap();
        assert!(mac::verify(&key, &[0xdd; 50], &hex(want)[..16]).is_err(), "never truncated");
        assert!(mac::verify(&key, &[0xde; 50], &hex(want)).is_err());
    }
}

/// RFC 8032, 7.1, test 2.
#[test]
fn ed25519_as_published() {
    let key = raw("Ed25519", &hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
    let want = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
         387b2eaeb4302aeeb00d291612bb0c00");
    assert_eq!(signature::sign(&key, Scheme::Ed25519, &[0x72]).unwrap(), want);
    let public = key.public_key().unwrap();
    assert!(public.ends_with(&hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")));
}

/// RFC 8410, 10.1 and 10.3.
#[test]
fn ed25519_pem_as_published() {
    let text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                -----END PRIVATE KEY-----\n";
    let spec = KeySpec::new(Algorithm::Ed25519, None, None).unwrap();
    let key = Material::import_pem(spec, text.as_bytes()).unwrap();
    assert_eq!(key.export_pem().unwrap().expose(), text.as_bytes());
    assert_eq!(
        key.public_key_pem().unwrap(),
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
         -----END PUBLIC KEY-----\n"
    );
}

/// RFC 7748, 6.1.
#[test]
fn x25519_as_published() {
    let alice = raw("X25519", &hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = raw("X25519", &hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    let bob_public = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert!(bob.public_key().unwrap().ends_with(&bob_public));
    assert_eq!(okp::agree_raw(&alice, &bob_public).unwrap().expose(), &shared, "raw");
    assert_eq!(okp::agree_raw(&bob, &alice.public_key().unwrap()).unwrap().expose(), &shared, "as DER");
    assert!(okp::agree_raw(&alice, &[0; 32]).is_err(), "a point of small order gives zero");
}

/// RFC 9180, A.1.1: what its sender encapsulated.
#[test]
fn x25519_encapsulation_as_published() {
    let holder = raw("X25519", &hex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"));
    let enc = hex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
    let shared = hex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc");
    assert_eq!(kem::decapsulate(&holder, &enc).unwrap().expose(), &shared);
    assert!(kem::decapsulate(&holder, &[0; 32]).is_err(), "a point of small order gives zero");
}

/// RFC 3394, 4.1 and 4.6; NIST's key wrap vectors for KWP with AES-128 and 248 bits.
#[test]
fn wrapping_as_published() {
    let text = hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    for (key, method, text, want) in [
        ((0..16).collect(), WrapMethod::AesKw, text[..16].to_vec(), "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"),
        (
            (0..32).collect(),
            WrapMethod::AesKw,
            text.clone(),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
        (
            hex("289023379078b821fc24f718bdc94331"),
            WrapMethod::AesKwp,
            hex("bed524c6402eeb7738696f3106999fc931bed6768838345d18ba44e1b032b8"),
            "ff51b7ae52462344fc455f72be059b56a98cc833a1cf3b20b6887112f5a43fd45e9c5f51e7c662f4",
        ),
    ] {
        let key: Vec<u8> = key;
        let key = raw(&format!("AES-{}", key.len() * 8), &key);
        assert_eq!(wrapping::wrap(&key, method, &text).unwrap(), hex(want), "{method:?}");
        assert_eq!(wrapping::unwrap(&key, method, &hex(want)).unwrap().expose(), &text);
    }
}

/// RFC 9935 shows public keys that begin so; what follows is the encapsulation key.
#[test]
fn ml_kem_public_keys_are_framed_as_published() {
    for (algorithm, begin, length) in [
        (Algorithm::MlKem768, "MIIEsjALBglghkgBZQMEBAIDggShA", 1206),
        (Algorithm::MlKem1024, "MIIGMjALBglghkgBZQMEBAMDggYhA", 1590),
    ] {
        let key = Material::generate(KeySpec::new(algorithm, None, None).unwrap());
        let public = key.public_key().unwrap();
        assert_eq!(public.len(), length);
        let text = pem::encode("PUBLIC KEY", &public);
        assert!(text.expose().starts_with(format!("-----BEGIN PUBLIC KEY-----\n{begin}").as_bytes()));
    }
}

/// `fixtures/vectors/algorithms.json`: answers of other implementations, each with its source.
#[test]
fn rsa_ecdsa_and_ml_kem_as_published() {
    #[derive(serde::Deserialize)]
    struct Vector {
        source: String,
        operation: String,
        spec: String,
        /// Material, input and what comes out of it, in hexadecimal; none: it is refused.
        key: String,
        input: String,
        output: Option<String>,
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/vectors/algorithms.json");
    let vectors: Vec<Vector> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for v in &vectors {
        let format = if v.spec.starts_with("RSA") { Format::Pkcs8 } else { Format::Raw };
        let key = Material::import(v.spec.parse().unwrap(), format, &hex(&v.key)).unwrap();
        let (input, output) = (hex(&v.input), v.output.as_deref().map(hex));
        seen.insert((v.operation.as_str(), v.spec.as_str()));
        let (verb, name) = v.operation.split_once(' ').unwrap_or((&v.operation, ""));
        match (verb, Scheme::from_name(name)) {
            ("decrypt", _) => {
                let opened = super::rsa::decrypt(&key, super::Hash::Sha256, &input).ok();
                assert_eq!(opened.map(|o| o.expose().clone()), output, "{}", v.source);
            }
            ("decapsulate", _) => {
                assert_eq!(Some(kem::decapsulate(&key, &input).unwrap().expose()), output.as_ref(), "{}", v.source);
            }
            ("sign", Some(scheme)) => {
                assert_eq!(Some(signature::sign(&key, scheme, &input).unwrap()), output, "{}", v.source);
            }
            ("verify", Some(scheme)) => {
                let mut made = output.unwrap();
                signature::verify(&key, scheme, &input, &made).unwrap_or_else(|e| panic!("{}: {e}", v.source));
                *made.last_mut().unwrap() ^= 1;
                assert!(signature::verify(&key, scheme, &input, &made).is_err(), "{}", v.source);
            }
            _ => panic!("{}: what is {:?}?", v.source, v.operation),
        }
    }
    assert_eq!((vectors.len(), seen.len()), (16, 8), "{seen:?}");
}
