#include "common/handshake/noise.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/assert.h"
#include "common/crypto/hkdf.h"
#include "common/crypto/sha256.h"

namespace qanat::noise {
namespace {

// Section 7.3 to 7.5, written as the specification writes them. Each is "pre-messages, messages".
struct PatternText {
    std::string_view name;
    std::string_view initiator_pre;
    std::string_view responder_pre;
    std::array<std::string_view, 3> messages;
};

constexpr PatternText kPatterns[] = {
    // One-way patterns
    {"N", "", "s", {"e es"}},
    {"K", "s", "s", {"e es ss"}},
    {"X", "", "s", {"e es s ss"}},
    // Interactive patterns
    {"NN", "", "", {"e", "e ee"}},
    {"NK", "", "s", {"e es", "e ee"}},
    {"NX", "", "", {"e", "e ee s es"}},
    {"XN", "", "", {"e", "e ee", "s se"}},
    {"XK", "", "s", {"e es", "e ee", "s se"}},
    {"XX", "", "", {"e", "e ee s es", "s se"}},
    {"KN", "s", "", {"e", "e ee se"}},
    {"KK", "s", "s", {"e es ss", "e ee se"}},
    {"KX", "s", "", {"e", "e ee se s es"}},
    {"IN", "", "", {"e s", "e ee se"}},
    {"IK", "", "s", {"e es s ss", "e ee se"}},
    {"IX", "", "", {"e s", "e ee se s es"}},
};

Token token_named(std::string_view name) {
    if (name == "e") return Token::e;
    if (name == "s") return Token::s;
    if (name == "ee") return Token::ee;
    if (name == "es") return Token::es;
    if (name == "se") return Token::se;
    QANAT_ASSERT(name == "ss");
    return Token::ss;
}

TokenList parse_tokens(std::string_view text) {
    TokenList tokens;
    while (!text.empty()) {
        const size_t length = std::min(text.find(' '), text.size());
        tokens.push_back(token_named(text.substr(0, length)));
        text.remove_prefix(std::min(length + 1, text.size()));
    }
    return tokens;
}

// Section 12.3: 32 bits of zeros, then the counter in little-endian order.
std::array<uint8_t, 12> chacha_nonce(uint64_t counter) {
    std::array<uint8_t, 12> nonce{};
    for (size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<uint8_t>(counter >> (8 * i));
    return nonce;
}

constexpr uint64_t kReservedNonce = UINT64_MAX;

// Section 4.3: HKDF(chaining_key, input_key_material, N / 32). It is RFC 5869 with the chaining key as salt, no info.
template <size_t N>
Secret<N> hkdf(const Secret<32>& chaining_key, Bytes input_key_material) {
    Secret<N> output;
    crypto::expand(crypto::extract(chaining_key.bytes(), input_key_material).bytes(), {}, output.writable());
    return output;
}

}  // namespace

// ---- CipherState ----

void CipherState::initialize_key(Secret<32> key) {
    key_ = std::move(key);
    nonce_ = 0;
    has_key_ = true;
}

Result<void, NoiseError> CipherState::encrypt_with_ad(Bytes ad, Bytes plaintext, MutableBytes out) {
    QANAT_ASSERT(out.size() == plaintext.size() + overhead());
    if (!has_key_) {
        if (!plaintext.empty()) std::memmove(out.data(), plaintext.data(), plaintext.size());
        return {};
    }
    if (nonce_ == kReservedNonce) return fail_with(NoiseError::nonce_exhausted);
    const auto nonce = chacha_nonce(nonce_);
    crypto_aead_chacha20poly1305_ietf_encrypt(out.data(), nullptr, plaintext.data(), plaintext.size(), ad.data(),
                                              ad.size(), nullptr, nonce.data(), key_.bytes().data());
    ++nonce_;
    return {};
}

Result<void, NoiseError> CipherState::decrypt_with_ad(Bytes ad, Bytes ciphertext, MutableBytes out) {
    QANAT_ASSERT(ciphertext.size() == out.size() + overhead());
    if (!has_key_) {
        if (!ciphertext.empty()) std::memmove(out.data(), ciphertext.data(), ciphertext.size());
        return {};
    }
    if (nonce_ == kReservedNonce) return fail_with(NoiseError::nonce_exhausted);
    const auto nonce = chacha_nonce(nonce_);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(out.data(), nullptr, nullptr, ciphertext.data(), ciphertext.size(),
                                                  ad.data(), ad.size(), nonce.data(), key_.bytes().data()) != 0)
        return fail_with(NoiseError::bad_tag);
    ++nonce_;
    return {};
}

// Section 4.2: k = the first 32 bytes of ENCRYPT(k, 2^64 - 1, no additional data, 32 zeros).
void CipherState::rekey() {
    QANAT_ASSERT(has_key_);
    const std::array<uint8_t, 32> zeros{};
    const auto nonce = chacha_nonce(kReservedNonce);
    Secret<48> block;
    crypto_aead_chacha20poly1305_ietf_encrypt(block.writable().data(), nullptr, zeros.data(), zeros.size(), nullptr, 0,
                                              nullptr, nonce.data(), key_.bytes().data());
    key_ = Secret<32>(block.bytes().first<32>());
}

// ---- SymmetricState ----

SymmetricState::SymmetricState(std::string_view protocol_name) {
    // A name that fits is padded with zeros, a longer one is hashed.
    if (protocol_name.size() <= kHashSize)
        std::memcpy(h_.data(), protocol_name.data(), protocol_name.size());
    else
        h_ = crypto::sha256({as_bytes(protocol_name)});
    ck_ = Secret<32>(h_);
}

void SymmetricState::mix_key(Bytes input_key_material) {
    // ck, temp_k = HKDF(ck, input_key_material, 2)
    const Secret<64> output = hkdf<64>(ck_, input_key_material);
    ck_ = Secret<32>(output.bytes().first<32>());
    cipher_.initialize_key(Secret<32>(output.bytes().last<32>()));
}

void SymmetricState::mix_hash(Bytes data) {
    h_ = crypto::sha256({h_, data});
}

void SymmetricState::mix_key_and_hash(Bytes input_key_material) {
    // ck, temp_h, temp_k = HKDF(ck, input_key_material, 3)
    const Secret<96> output = hkdf<96>(ck_, input_key_material);
    ck_ = Secret<32>(output.bytes().first<32>());
    mix_hash(output.bytes().subspan<32, 32>());
    cipher_.initialize_key(Secret<32>(output.bytes().last<32>()));
}

Result<void, NoiseError> SymmetricState::encrypt_and_hash(Bytes plaintext, MutableBytes out) {
    if (auto sealed = cipher_.encrypt_with_ad(h_, plaintext, out); !sealed) return sealed;
    mix_hash(out);
    return {};
}

Result<void, NoiseError> SymmetricState::decrypt_and_hash(Bytes ciphertext, MutableBytes out) {
    // Taken first, because an in-place decryption overwrites the ciphertext.
    const Hash next_h = crypto::sha256({h_, ciphertext});
    if (auto opened = cipher_.decrypt_with_ad(h_, ciphertext, out); !opened) return opened;
    h_ = next_h;
    return {};
}

SplitKeys SymmetricState::split() const {
    // temp_k1, temp_k2 = HKDF(ck, zerolen, 2)
    const Secret<64> output = hkdf<64>(ck_, {});
    return {Secret<32>(output.bytes().first<32>()), Secret<32>(output.bytes().last<32>())};
}

// ---- Patterns ----

std::optional<Pattern> find_pattern(std::string_view name) {
    const std::string_view base = name.substr(0, name.find("psk"));
    const std::string_view modifier = name.substr(base.size());
    for (const PatternText& text : kPatterns) {
        if (text.name != base) continue;
        Pattern pattern;
        pattern.name = name;
        pattern.initiator_known = text.initiator_pre == "s";
        pattern.responder_known = text.responder_pre == "s";
        for (std::string_view message : text.messages)
            if (!message.empty()) pattern.messages[pattern.message_count++] = parse_tokens(message);
        if (modifier.empty()) return pattern;

        // Section 9.4: psk0 is the first token of the first message, pskN the last token of the N-th message.
        if (modifier.size() != 4 || modifier[3] < '0' || modifier[3] > '9') return std::nullopt;
        const auto place = static_cast<size_t>(modifier[3] - '0');
        if (place > pattern.message_count) return std::nullopt;
        if (place == 0)
            pattern.messages[0].push_front(Token::psk);
        else
            pattern.messages[place - 1].push_back(Token::psk);
        pattern.has_psk = true;
        return pattern;
    }
    return std::nullopt;
}

// ---- HandshakeState ----

HandshakeState::HandshakeState(const Pattern& pattern, Role role, Bytes prologue, HandshakeKeys keys)
    : pattern_(pattern),
      role_(role),
      symmetric_("Noise_" + pattern.name + "_25519_ChaChaPoly_SHA256"),
      keys_(std::move(keys)) {
    symmetric_.mix_hash(prologue);
    // Pre-messages, the initiator's first.
    const auto mix_static_of = [&](Role owner) {
        if (owner == role_) {
            QANAT_ASSERT(keys_.s.has_value());
            symmetric_.mix_hash(keys_.s->public_key);
        } else {
            QANAT_ASSERT(keys_.rs.has_value());
            symmetric_.mix_hash(*keys_.rs);
        }
    };
    if (pattern_.initiator_known) mix_static_of(Role::initiator);
    if (pattern_.responder_known) mix_static_of(Role::responder);
}

void HandshakeState::set_ephemeral(KeyPair e) {
    QANAT_ASSERT(!keys_.e.has_value());
    keys_.e = std::move(e);
}

const PublicKey& HandshakeState::remote_static() const {
    QANAT_ASSERT(keys_.rs.has_value());
    return *keys_.rs;
}

SplitKeys HandshakeState::split() const {
    QANAT_ASSERT(complete());
    return symmetric_.split();
}

bool HandshakeState::my_turn_to_write() const {
    const Role writer = next_ % 2 == 0 ? Role::initiator : Role::responder;
    return writer == role_;
}

Result<size_t, NoiseError> HandshakeState::write_message(Bytes payload, MutableBytes out) {
    QANAT_ASSERT(!dead_ && next_ < pattern_.message_count);
    QANAT_ASSERT(my_turn_to_write());
    dead_ = true;
    Result<size_t, NoiseError> size = write_tokens(payload, out);
    if (!size) return size;
    dead_ = false;
    ++next_;
    return size;
}

Result<size_t, NoiseError> HandshakeState::read_message(Bytes message, MutableBytes payload) {
    QANAT_ASSERT(!dead_ && next_ < pattern_.message_count);
    QANAT_ASSERT(!my_turn_to_write());
    dead_ = true;
    Result<size_t, NoiseError> size = read_tokens(message, payload);
    if (!size) return size;
    dead_ = false;
    ++next_;
    return size;
}

Result<size_t, NoiseError> HandshakeState::write_tokens(Bytes payload, MutableBytes out) {
    // Counts what the message still needs and hands it out from the front of `out`.
    size_t size = 0;
    const auto append = [&](size_t count) {
        QANAT_ASSERT(count <= out.size() - size);
        size += count;
        return out.subspan(size - count, count);
    };
    for (const Token token : pattern_.messages[next_]) {
        switch (token) {
            case Token::e: {
                QANAT_ASSERT(keys_.e.has_value());
                const PublicKey& e = keys_.e->public_key;
                std::memcpy(append(kDhSize).data(), e.data(), kDhSize);
                symmetric_.mix_hash(e);
                if (pattern_.has_psk) symmetric_.mix_key(e);
                break;
            }
            case Token::s: {
                QANAT_ASSERT(keys_.s.has_value());
                auto sealed = symmetric_.encrypt_and_hash(keys_.s->public_key, append(kDhSize + symmetric_.overhead()));
                if (!sealed) return fail_with(sealed.error());
                break;
            }
            case Token::ee:
            case Token::es:
            case Token::se:
            case Token::ss:
                if (auto mixed = mix_dh(token); !mixed) return fail_with(mixed.error());
                break;
            case Token::psk:
                QANAT_ASSERT(keys_.psk.has_value());
                symmetric_.mix_key_and_hash(keys_.psk->bytes());
                break;
        }
    }
    const size_t sealed_size = payload.size() + symmetric_.overhead();
    if (size + sealed_size > kMessageSizeMax) return fail_with(NoiseError::wrong_length);
    if (auto sealed = symmetric_.encrypt_and_hash(payload, append(sealed_size)); !sealed)
        return fail_with(sealed.error());
    return size;
}

Result<size_t, NoiseError> HandshakeState::read_tokens(Bytes message, MutableBytes payload) {
    if (message.size() > kMessageSizeMax) return fail_with(NoiseError::wrong_length);
    ByteReader reader(message);
    for (const Token token : pattern_.messages[next_]) {
        switch (token) {
            case Token::e: {
                PublicKey re;
                reader.copy_to(re);
                if (!reader.ok()) return fail_with(NoiseError::wrong_length);
                symmetric_.mix_hash(re);
                if (pattern_.has_psk) symmetric_.mix_key(re);
                re_ = re;
                break;
            }
            case Token::s: {
                const Bytes sealed = reader.bytes(kDhSize + symmetric_.overhead());
                if (!reader.ok()) return fail_with(NoiseError::wrong_length);
                PublicKey rs;
                if (auto opened = symmetric_.decrypt_and_hash(sealed, rs); !opened) return fail_with(opened.error());
                keys_.rs = rs;
                break;
            }
            case Token::ee:
            case Token::es:
            case Token::se:
            case Token::ss:
                if (auto mixed = mix_dh(token); !mixed) return fail_with(mixed.error());
                break;
            case Token::psk:
                QANAT_ASSERT(keys_.psk.has_value());
                symmetric_.mix_key_and_hash(keys_.psk->bytes());
                break;
        }
    }
    if (reader.remaining() < symmetric_.overhead()) return fail_with(NoiseError::wrong_length);
    const Bytes sealed = reader.bytes(reader.remaining());
    const size_t size = sealed.size() - symmetric_.overhead();
    QANAT_ASSERT(size <= payload.size());
    if (auto opened = symmetric_.decrypt_and_hash(sealed, payload.first(size)); !opened)
        return fail_with(opened.error());
    return size;
}

// The first letter of a token names the initiator's key, the second the responder's.
Result<void, NoiseError> HandshakeState::mix_dh(Token token) {
    const bool initiator = role_ == Role::initiator;
    const bool own_is_ephemeral = token == Token::ee || token == (initiator ? Token::es : Token::se);
    const bool other_is_ephemeral = token == Token::ee || token == (initiator ? Token::se : Token::es);
    const std::optional<KeyPair>& own = own_is_ephemeral ? keys_.e : keys_.s;
    const std::optional<PublicKey>& other = other_is_ephemeral ? re_ : keys_.rs;
    QANAT_ASSERT(own.has_value());
    QANAT_ASSERT(other.has_value());

    Secret<32> shared;
    // libsodium refuses low-order points; the zero test makes the rule of PROTOCOL section 1 visible and independent of
    // its version. Without it, a peer could choose the shared value and drop its own identity from the key.
    const int status = crypto_scalarmult(shared.writable().data(), own->secret.bytes().data(), other->data());
    if (status != 0 || sodium_is_zero(shared.bytes().data(), shared.bytes().size()) != 0)
        return fail_with(NoiseError::zero_dh);
    symmetric_.mix_key(shared.bytes());
    return {};
}

}  // namespace qanat::noise
