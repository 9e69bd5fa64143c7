"""Opens a Keyark archive (format 1) with public libraries only: open_archive.py ARCHIVE KEYFILE PASSPHRASE [NAME OR ID]"""
import base64, hashlib, hmac, io, json, struct, sys, uuid
import cbor2, jwcrypto.jwa, zstandard
from jwcrypto import jwe, jwk
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

MAGIC, SEGMENT = b"\x89KEYARK\r\n\x1a\n\0", 1 << 20
path, key_path, passphrase, *wanted = sys.argv[1:]
sha256 = lambda data: hashlib.sha256(data).digest()
hkdf = lambda key, info, salt=None: HKDF(SHA256(), 32, salt, info).derive(key)

def unwrap(parent, name, archive, domain, generation, wrapped):
    info = b"keyark/wrap/1" + bytes([len(name)]) + name + archive + domain + struct.pack(">Q", generation)
    return aes_key_unwrap_with_padding(hkdf(parent, info), wrapped)

# 1. The backup key, out of its JWE; the cap on iterations must be raised.
jwcrypto.jwa.default_max_pbkdf2_iterations = 10_000_000
token = jwe.JWE(algs=["PBES2-HS512+A256KW", "A256GCM"])
token.deserialize(open(key_path).read().strip(), jwk.JWK.from_password(passphrase))
key_file = json.loads(token.payload)

# 2. The parts of the file, its signature, and whether the anchor in the key file knows the signer.
data = open(path, "rb").read()
assert data[:12] == data[-12:] == MAGIC, "not an archive, or cut"
body_at = 16 + struct.unpack(">I", data[12:16])[0]
footer_length, signature_length = struct.unpack(">II", data[-20:-12])
signature_at = len(data) - 20 - signature_length
footer_at = signature_at - footer_length
body, footer_bytes, block = data[body_at:footer_at], data[footer_at:signature_at], data[signature_at:-20]
header, footer, header_hash = json.loads(data[16:body_at]), json.loads(footer_bytes), sha256(data[:body_at])
assert header["format"] == 1, "format %s, made by Keyark %s" % (header["format"], header["productVersion"])
signed = b"keyark/sign/1/archive\0" + header_hash + sha256(body) + sha256(footer_bytes)
Ed25519PublicKey.from_public_bytes(block[1:33]).verify(block[33:], signed)
pinned = any(k["publicKey"] == block[1:33].hex() and k["incarnation"] == header["incarnation"] for k in key_file["anchor"]["keys"])
print("signature:", "by the system of the key file" if pinned else "whole, BUT BY AN UNKNOWN SIGNER")

# 3. The data-encryption key, and the commitment to it.
archive, domain = uuid.UUID(header["id"]).bytes, uuid.UUID(header.get("domain", "0" * 32)).bytes
wrapped = next(w for w in header["wraps"] if [f["id"] for f in w["factors"]] == [key_file["id"]])["wrapped"]
dek = unwrap(base64.b64decode(key_file["key"]), b"archive-dek", archive, domain, 0, base64.b64decode(wrapped))
assert hmac.compare_digest(hkdf(dek, b"keyark/archive/1/commit").hex(), header["keyCommitment"]), "another archive's key"

# 4. The body: Tink's AES256-GCM-HKDF streaming AEAD, then zstd blocks of CBOR, found through the index.
cipher, count, plain = AESGCM(hkdf(hkdf(dek, b"keyark/archive/1/body"), header_hash, body[1:33])), -(-len(body) // SEGMENT), b""
for i in range(count):
    nonce = body[33:40] + struct.pack(">IB", i, i == count - 1)
    plain += cipher.decrypt(nonce, body[max(40, i * SEGMENT):(i + 1) * SEGMENT], None)
inflate = lambda at, length, raw: zstandard.ZstdDecompressor().decompress(plain[at:at + length], max_output_size=raw)
index = cbor2.loads(inflate(*(int(footer["index"][n]) for n in ("offset", "length", "rawLength"))))

def items(kind):
    for code, _, offset, length, raw, _, number, *_ in index[1]:
        stream = io.BytesIO(inflate(offset, length, raw) if code == kind else b"")
        yield from (cbor2.load(stream) for _ in range(number if code == kind else 0))

# 5. The KEKs, and the records that they open.
kek_key = hkdf(dek, b"keyark/archive/1/kek")
keks = {(d, g): unwrap(kek_key, b"kek", archive, d, g, w) for d, g, w in items(1)}
for kind, domain, id, revision, _, head, sealed in items(2):
    attributes = json.loads(head)
    if wanted and wanted[0] not in (attributes.get("name"), str(uuid.UUID(bytes=id))):
        continue
    generation = struct.unpack(">I", sealed[:4])[0]
    history = attributes.get("versions") or attributes.get("history")
    version = history[-1]["version"] if history else 0
    aad = cbor2.dumps(["keyark/record/1", domain, kind, id, version, revision, generation, sha256(head)], canonical=True)
    clear = AESGCM(keks[domain, generation]).decrypt(sealed[4:16], sealed[16:], aad)
    print(kind, uuid.UUID(bytes=id), head.decode(), "body:", clear)
