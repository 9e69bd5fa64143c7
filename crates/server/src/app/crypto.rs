//! Cryptography with keys, one item or a batch: every operation is one function from an item to a result.

use std::borrow::Cow;

use arrayvec::ArrayString;
use keyark_api::crypto::{
    DataKey, DataKeyItem, DataKeyMade, Decapsulate, DecapsulateItem, Decapsulated, Decrypt, DecryptItem, Decrypted,
    Encapsulate, EncapsulateItem, Encapsulated, Encrypt, EncryptItem, Encrypted, ItemResult, LARGEST_BATCH, Mac,
    MacItem, MacMade, MacVerified, MacVerify, MacVerifyItem, Nonce, OneOrMany, Random, RandomBytes, Reencrypt,
    ReencryptItem, Reencrypted, Sign, SignItem, Signed, Tag, Unwrap, UnwrapItem, Unwrapped, Verified, Verify,
    VerifyItem, Wrap, WrapItem, Wrapped,
};
use keyark_api::{Endpoint, ErrorCode};
use keyark_crypto::algorithm::ec::EcdsaForm;
use keyark_crypto::algorithm::rsa::{self, Padding};
use keyark_crypto::algorithm::symmetric::{Cipher, NoncePool};
use keyark_crypto::algorithm::{AlgorithmError, Hash, Material, Scheme, kem, mac, signature, wrapping};
use keyark_crypto::{SecretBytes, random};
use keyark_model::key::{Algorithm, Operation};
use uuid::Uuid;

use super::core::encode;
use super::ctx::Ctx;
use super::error::{AppError, Result};
use super::keys::hex;
use super::keys::material::{OpenKey, wrap_method};
use super::{App, Handle, Reply};
use crate::audit::Named;

/// One operation on the items of a request.
trait Batch: Endpoint {
    type Item: Send;
    type Out: Send;

    fn key(&self) -> (&str, Option<&str>);
    fn items(&mut self) -> (Vec<Self::Item>, bool);
    /// Does one item.
    fn run(work: &mut Work<'_>, item: Self::Item) -> Result<Self::Out>;
}

/// What the items of one request share.
struct Work<'a> {
    ctx: &'a Ctx,
    key: &'a OpenKey,
    nonces: NoncePool,
    /// The key of the last item's version, scheduled.
    cipher: Option<(u32, Cipher)>,
}

impl<'a> Work<'a> {
    /// The material of a version, after everything that may forbid the operation was asked.
    fn material(&self, version: Option<i64>, operation: Operation) -> Result<(u32, &'a Material)> {
        let core = &self.ctx.core;
        core.key_material(self.ctx.domain()?, self.key, version, operation, self.ctx.now)
    }

    /// A version's key, scheduled once for all items that use it, and the next nonce.
    fn cipher(&mut self, version: u32, key: &Material) -> Result<(&Cipher, &mut NoncePool)> {
        let cipher = match self.cipher.take() {
            Some(scheduled) if scheduled.0 == version => scheduled,
            _ => (version, Cipher::new(key)?),
        };
        Ok((&self.cipher.insert(cipher).1, &mut self.nonces))
    }

    fn id(&self) -> Uuid {
        self.key.id.0
    }
}

async fn run<B: Batch>(ctx: &Ctx, mut request: B, operation: &[Operation]) -> Result<Reply<OneOrMany<B::Out>>> {
    let (items, batch) = request.items();
    if items.len() > LARGEST_BATCH {
        return Err(AppError::new(ErrorCode::TooLarge, format!("a batch has at most {LARGEST_BATCH} items; split it")));
    }
    if batch && items.is_empty() {
        return Err(AppError::invalid("items is empty"));
    }
    let (text, kind) = request.key();
    let key = ctx
        .core
        .key_open(ctx.domain()?, text, kind)
        .inspect_err(|_| ctx.tell(|trace| trace.target = Named::text(text)))?;
    ctx.tell(|trace| trace.target = Named::Id(key.id));
    for operation in operation {
        ctx.key_may(&key.header, *operation)?;
    }
    let mut work = Work { ctx, key: &key, nonces: NoncePool::new(items.len()), cipher: None };
    if !batch {
        let item = items.into_iter().next().ok_or_else(|| AppError::internal("a request without items"))?;
        return Ok(Reply::json(OneOrMany::One(B::run(&mut work, item)?)));
    }
    let items = items
        .into_iter()
        .map(|item| match B::run(&mut work, item) {
            Ok(done) => ItemResult::Done(done),
            Err(e) => ItemResult::Failed { error: e.body(&ctx.request.id) },
        })
        .collect();
    Ok(Reply::json(OneOrMany::Many { items }))
}

macro_rules! batches {
    ($($request:ident / $item:ident => $out:ident, [$($operation:ident),*], $run:ident;)*) => {
        $(impl Batch for $request {
            type Item = $item;
            type Out = $out;

            fn key(&self) -> (&str, Option<&str>) {
                (&self.id, self.kind.as_deref())
            }

            fn items(&mut self) -> (Vec<$item>, bool) {
                self.take_items()
            }

            fn run(work: &mut Work<'_>, item: $item) -> Result<$out> {
                $run(work, item)
            }
        }

        impl Handle<$request> for App {
            async fn handle(&self, ctx: &Ctx, request: $request) -> Result<Reply<OneOrMany<$out>>> {
                run(ctx, request, &[$(Operation::$operation),*]).await
            }
        })*
    };
}

batches! {
    Encrypt / EncryptItem => Encrypted, [Encrypt], encrypt;
    Decrypt / DecryptItem => Decrypted, [Decrypt], decrypt;
    Reencrypt / ReencryptItem => Reencrypted, [Decrypt, Encrypt], reencrypt;
    DataKey / DataKeyItem => DataKeyMade, [DataKey], data_key;
    Sign / SignItem => Signed, [Sign], sign;
    Verify / VerifyItem => Verified, [Verify], verify;
    Mac / MacItem => MacMade, [Mac], mac_make;
    MacVerify / MacVerifyItem => MacVerified, [MacVerify], mac_verify;
    Wrap / WrapItem => Wrapped, [Wrap], wrap;
    Unwrap / UnwrapItem => Unwrapped, [Unwrap], unwrap;
    Encapsulate / EncapsulateItem => Encapsulated, [Encapsulate], encapsulate;
    Decapsulate / DecapsulateItem => Decapsulated, [Decapsulate], decapsulate;
}

/// A field that must be there, out of base64.
fn binary(name: &str, field: Option<String>) -> Result<SecretBytes> {
    let text = field.ok_or_else(|| AppError::invalid(format!("{name} is missing")))?;
    // In place: no second buffer, and the text is wiped with what it held.
    let mut bytes = SecretBytes::new(text.into_bytes());
    let decoded = base64_simd::STANDARD.decode_inplace(bytes.expose_mut()).map(|out| out.len());
    let length = decoded.map_err(|_| AppError::invalid(format!("{name} is not standard base64")))?;
    bytes.expose_mut().truncate(length);
    Ok(bytes)
}

/// A field that may be absent, out of base64.
fn binary_or_empty(name: &str, field: Option<String>) -> Result<SecretBytes> {
    field.map_or(Ok(SecretBytes::new(Vec::new())), |text| binary(name, Some(text)))
}

fn mode_check(mode: Option<&str>) -> Result<()> {
    match mode {
        None => Ok(()),
        Some(m) if m.eq_ignore_ascii_case("gcm") || m.eq_ignore_ascii_case("chacha20-poly1305") => Ok(()),
        Some(_) => Err(AppError::invalid("mode is gcm: other modes do not authenticate what they encrypt")),
    }
}

fn oaep(pad: Option<&str>) -> Result<Hash> {
    match pad.map(str::to_ascii_lowercase).as_deref() {
        None | Some("oaep256") => Ok(Hash::Sha256),
        Some("oaep384") => Ok(Hash::Sha384),
        Some("oaep512") => Ok(Hash::Sha512),
        Some(_) => Err(AppError::invalid("pad is oaep256, oaep384 or oaep512")),
    }
}

/// The three parts of a symmetric ciphertext on the wire, and the mode; RSA has the ciphertext alone.
struct Parts {
    mode: Option<Cow<'static, str>>,
    iv: Option<Nonce>,
    tag: Option<Tag>,
    ciphertext: String,
}

/// Base64 of as many bytes as fit.
fn encode_short<const N: usize>(bytes: &[u8]) -> Result<ArrayString<N>> {
    let mut buffer = [0; N];
    let text = base64_simd::STANDARD.encode_as_str(bytes, base64_simd::Out::from_slice(&mut buffer));
    ArrayString::from(text).map_err(AppError::internal)
}

fn seal(
    work: &mut Work<'_>,
    (version, key): (u32, &Material),
    aad: &[u8],
    plaintext: &[u8],
    pad: Option<&str>,
) -> Result<Parts> {
    if key.spec().algorithm() == Algorithm::Rsa {
        let ciphertext = rsa::encrypt(key, oaep(pad)?, plaintext)?;
        return Ok(Parts { mode: None, iv: None, tag: None, ciphertext: encode(&ciphertext) });
    }
    let (cipher, nonces) = work.cipher(version, key)?;
    let sealed = cipher.encrypt(nonces.take(), aad, plaintext)?;
    let (iv, rest) = sealed.split_at(12);
    let (ciphertext, tag) = rest.split_at(rest.len() - 16);
    let mode = if key.spec().algorithm() == Algorithm::Aes { "gcm" } else { "chacha20-poly1305" };
    Ok(Parts {
        mode: Some(mode.into()),
        iv: Some(encode_short(iv)?),
        tag: Some(encode_short(tag)?),
        ciphertext: encode(ciphertext),
    })
}

fn open(work: &mut Work<'_>, (version, key): (u32, &Material), item: DecryptItem) -> Result<SecretBytes> {
    mode_check(item.mode.as_deref())?;
    let ciphertext = binary("ciphertext", item.ciphertext)?;
    if key.spec().algorithm() == Algorithm::Rsa {
        return Ok(rsa::decrypt(key, oaep(item.pad.as_deref())?, ciphertext.expose())?);
    }
    let aad = binary_or_empty("aad", item.aad)?;
    let iv = binary("iv", item.iv)?;
    let tag = binary("tag", item.tag)?;
    let iv = iv.expose().as_slice().try_into().map_err(|_| AppError::invalid("iv has 12 bytes"))?;
    let tag = tag.expose().as_slice().try_into().map_err(|_| AppError::invalid("tag has 16 bytes"))?;
    let (cipher, _) = work.cipher(version, key)?;
    Ok(cipher.decrypt_parts(iv, aad.expose(), ciphertext.expose(), tag)?)
}

fn encrypt(work: &mut Work<'_>, item: EncryptItem) -> Result<Encrypted> {
    mode_check(item.mode.as_deref())?;
    let (version, key) = work.material(item.version, Operation::Encrypt)?;
    let plaintext = binary("plaintext", item.plaintext)?;
    let aad = binary_or_empty("aad", item.aad)?;
    let parts = seal(work, (version, key), aad.expose(), plaintext.expose(), item.pad.as_deref())?;
    let Parts { mode, iv, tag, ciphertext } = parts;
    Ok(Encrypted { id: work.id(), version, mode, iv, tag, ciphertext: Some(ciphertext) })
}

fn decrypt(work: &mut Work<'_>, item: DecryptItem) -> Result<Decrypted> {
    let (version, key) = work.material(item.version, Operation::Decrypt)?;
    let plaintext = open(work, (version, key), item)?;
    Ok(Decrypted { id: work.id(), version, plaintext: Some(encode(plaintext.expose())) })
}

fn reencrypt(work: &mut Work<'_>, item: ReencryptItem) -> Result<Reencrypted> {
    let old = work.material(item.version, Operation::Decrypt)?;
    let (version, new) = work.material(None, Operation::Encrypt)?;
    let aad = binary_or_empty("aad", item.aad.clone())?;
    let pad = item.pad.clone();
    let plaintext = open(
        work,
        old,
        DecryptItem {
            version: item.version,
            ciphertext: item.ciphertext,
            iv: item.iv,
            tag: item.tag,
            aad: item.aad,
            mode: item.mode,
            pad: item.pad,
        },
    )?;
    let parts = seal(work, (version, new), aad.expose(), plaintext.expose(), pad.as_deref())?;
    let Parts { mode, iv, tag, ciphertext } = parts;
    Ok(Reencrypted { id: work.id(), version, mode, iv, tag, ciphertext: Some(ciphertext) })
}

fn data_key(work: &mut Work<'_>, item: DataKeyItem) -> Result<DataKeyMade> {
    let size = item.size.unwrap_or(256);
    if !matches!(size, 128 | 192 | 256) {
        return Err(AppError::invalid("size is 128, 192 or 256 bits"));
    }
    let (version, key) = work.material(item.version, Operation::DataKey)?;
    let aad = binary_or_empty("aad", item.aad)?;
    let mut fresh = SecretBytes::new(vec![0; size as usize / 8]);
    random::fill(fresh.expose_mut());
    let Parts { mode, iv, tag, ciphertext } = seal(work, (version, key), aad.expose(), fresh.expose(), None)?;
    let plaintext = item.include_plaintext.unwrap_or(true).then(|| encode(fresh.expose()));
    Ok(DataKeyMade { id: work.id(), version, plaintext, mode, iv, tag, ciphertext: Some(ciphertext) })
}

fn scheme(key: &Material, hash: Option<&str>, pad: Option<&str>, format: Option<&str>) -> Result<Scheme> {
    let cannot = || AppError::from(AlgorithmError::BadInput("this kind of key does not sign: use RSA, EC or ED25519"));
    let given_hash = hash.map(|h| h.to_ascii_uppercase().replace('-', ""));
    match Scheme::default_for(key.spec()).ok_or_else(cannot)? {
        Scheme::Rsa(..) => {
            let hash = match given_hash.as_deref() {
                None | Some("SHA256") => Hash::Sha256,
                Some("SHA384") => Hash::Sha384,
                Some("SHA512") => Hash::Sha512,
                Some(_) => return Err(AppError::invalid("hashAlgo is SHA-256, SHA-384 or SHA-512")),
            };
            match pad.map(str::to_ascii_uppercase).as_deref() {
                None | Some("PSS") => Ok(Scheme::Rsa(Padding::Pss, hash)),
                Some("PKCS1") => Ok(Scheme::Rsa(Padding::Pkcs1, hash)),
                Some(_) => Err(AppError::invalid("pad is PSS or PKCS1")),
            }
        }
        Scheme::Ecdsa(_) => {
            let fits = format!("SHA{}", if key.spec().size() == 521 { 512 } else { key.spec().size() });
            if given_hash.is_some_and(|h| h != fits) {
                return Err(AppError::invalid(format!("the hash of this curve is {fits}; leave hashAlgo out")));
            }
            match format {
                None | Some("der") => Ok(Scheme::Ecdsa(EcdsaForm::Asn1)),
                Some("p1363") => Ok(Scheme::Ecdsa(EcdsaForm::Fixed)),
                Some(_) => Err(AppError::invalid("format is der or p1363")),
            }
        }
        Scheme::Ed25519 => Ok(Scheme::Ed25519),
    }
}

fn sign(work: &mut Work<'_>, item: SignItem) -> Result<Signed> {
    let (version, key) = work.material(item.version, Operation::Sign)?;
    let scheme = scheme(key, item.hash_algo.as_deref(), item.pad.as_deref(), item.format.as_deref())?;
    let made = signature::sign(key, scheme, binary("data", item.data)?.expose())?;
    Ok(Signed { id: work.id(), version, signature: Some(encode(&made)), data: Some(hex(&made)) })
}

/// A check that fails is an answer, everything else an error.
fn verdict(result: std::result::Result<(), AlgorithmError>) -> Result<Option<bool>> {
    match result {
        Ok(()) => Ok(Some(true)),
        Err(AlgorithmError::CheckFailed) => Ok(Some(false)),
        Err(e) => Err(e.into()),
    }
}

fn verify(work: &mut Work<'_>, item: VerifyItem) -> Result<Verified> {
    let (version, key) = work.material(item.version, Operation::Verify)?;
    let scheme = scheme(key, item.hash_algo.as_deref(), item.pad.as_deref(), item.format.as_deref())?;
    let (data, given) = (binary("data", item.data)?, binary("signature", item.signature)?);
    let verified = verdict(signature::verify(key, scheme, data.expose(), given.expose()))?;
    Ok(Verified { id: work.id(), version, verified })
}

fn mac_make(work: &mut Work<'_>, item: MacItem) -> Result<MacMade> {
    let (version, key) = work.material(item.version, Operation::Mac)?;
    let made = mac::mac(key, binary("data", item.data)?.expose())?;
    Ok(MacMade { id: work.id(), version, mac: Some(encode(&made)), data: Some(hex(&made)) })
}

fn mac_verify(work: &mut Work<'_>, item: MacVerifyItem) -> Result<MacVerified> {
    let (version, key) = work.material(item.version, Operation::MacVerify)?;
    let (data, given) = (binary("data", item.data)?, binary("mac", item.mac)?);
    let verified = verdict(mac::verify(key, data.expose(), given.expose()))?;
    Ok(MacVerified { id: work.id(), version, verified })
}

fn wrap(work: &mut Work<'_>, item: WrapItem) -> Result<Wrapped> {
    let (version, key) = work.material(item.version, Operation::Wrap)?;
    let made = wrapping::wrap(key, wrap_method(key), binary("material", item.material)?.expose())?;
    Ok(Wrapped { id: work.id(), version, wrapped: Some(encode(&made)) })
}

fn unwrap(work: &mut Work<'_>, item: UnwrapItem) -> Result<Unwrapped> {
    let (version, key) = work.material(item.version, Operation::Unwrap)?;
    let opened = wrapping::unwrap(key, wrap_method(key), binary("wrapped", item.wrapped)?.expose())?;
    Ok(Unwrapped { id: work.id(), version, material: Some(encode(opened.expose())) })
}

fn encapsulate(work: &mut Work<'_>, item: EncapsulateItem) -> Result<Encapsulated> {
    let (version, key) = work.material(item.version, Operation::Encapsulate)?;
    let (ciphertext, shared) = kem::encapsulate(key)?;
    let shared_secret = Some(encode(shared.expose()));
    Ok(Encapsulated { id: work.id(), version, ciphertext: Some(encode(&ciphertext)), shared_secret })
}

fn decapsulate(work: &mut Work<'_>, item: DecapsulateItem) -> Result<Decapsulated> {
    let (version, key) = work.material(item.version, Operation::Decapsulate)?;
    let shared = kem::decapsulate(key, binary("ciphertext", item.ciphertext)?.expose())?;
    Ok(Decapsulated { id: work.id(), version, shared_secret: Some(encode(shared.expose())) })
}

impl Handle<Random> for App {
    async fn handle(&self, _: &Ctx, r: Random) -> Result<Reply<RandomBytes>> {
        let length = r.bytes.unwrap_or(32);
        if !(1..=65_536).contains(&length) {
            return Err(AppError::invalid("bytes is 1 to 65536"));
        }
        let mut out = SecretBytes::new(vec![0; length as usize]);
        random::fill(out.expose_mut());
        let data = match r.encoding.as_deref() {
            None | Some("base64") => encode(out.expose()),
            Some("hex") => hex(out.expose()),
            Some(_) => return Err(AppError::invalid("encoding is base64 or hex")),
        };
        Ok(Reply::json(RandomBytes { data }))
    }
}
