// The Noise Protocol Framework, revision 34, for 25519 / ChaChaPoly / SHA256: the objects of section 5, the pattern
// table of section 7 and the psk modifiers of section 9, with the specification's names and order.
//
// Pure: the caller brings every key, the ephemeral one included. Every secret is wiped when its owner ends.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/handshake/key_pair.h"

namespace qanat::noise {

inline constexpr size_t kDhSize = 32;
inline constexpr size_t kHashSize = 32;
inline constexpr size_t kTagSize = 16;
inline constexpr size_t kMessageSizeMax = 65535;

using Hash = std::array<uint8_t, kHashSize>;

enum class NoiseError {
    wrong_length,    // the message is shorter than its tokens, or longer than 65535 bytes
    bad_tag,         // an authentication failed
    zero_dh,         // an X25519 result of all zeros: the other side sent a low-order point
    nonce_exhausted  // 2^64 - 1 messages under one key
};

// Section 5.1. Sizes: a ciphertext is 16 bytes longer than its plaintext when there is a key, and equally long (and a
// plain copy) when there is none. In-place use (input and output begin at the same byte) is allowed.
class CipherState {
public:
    CipherState() = default;
    explicit CipherState(Secret<32> key) { initialize_key(std::move(key)); }

    void initialize_key(Secret<32> key);
    [[nodiscard]] bool has_key() const { return has_key_; }
    [[nodiscard]] size_t overhead() const { return has_key_ ? kTagSize : 0; }
    void set_nonce(uint64_t nonce) { nonce_ = nonce; }

    // `out` must be exactly plaintext.size() + overhead() bytes.
    [[nodiscard]] Result<void, NoiseError> encrypt_with_ad(Bytes ad, Bytes plaintext, MutableBytes out);
    // `out` must be exactly ciphertext.size() - overhead() bytes; nothing usable is in it after an error, and the nonce
    // has not moved.
    [[nodiscard]] Result<void, NoiseError> decrypt_with_ad(Bytes ad, Bytes ciphertext, MutableBytes out);
    void rekey();

private:
    Secret<32> key_;
    uint64_t nonce_ = 0;
    bool has_key_ = false;
};

// The two keys of Split(): the initiator sends with the first, the responder with the second. They are handed out raw
// because PROTOCOL section 3 derives its own secrets from them; CipherState(key) makes a transport cipher of one.
struct SplitKeys {
    Secret<32> initiator;
    Secret<32> responder;
};

// Section 5.2.
class SymmetricState {
public:
    explicit SymmetricState(std::string_view protocol_name);  // InitializeSymmetric

    void mix_key(Bytes input_key_material);
    void mix_hash(Bytes data);
    void mix_key_and_hash(Bytes input_key_material);
    [[nodiscard]] const Hash& handshake_hash() const { return h_; }
    [[nodiscard]] size_t overhead() const { return cipher_.overhead(); }

    // Sizes as in CipherState.
    [[nodiscard]] Result<void, NoiseError> encrypt_and_hash(Bytes plaintext, MutableBytes out);
    [[nodiscard]] Result<void, NoiseError> decrypt_and_hash(Bytes ciphertext, MutableBytes out);
    [[nodiscard]] SplitKeys split() const;

private:
    CipherState cipher_;
    Secret<32> ck_;
    Hash h_{};
};

enum class Token : uint8_t { e, s, ee, es, se, ss, psk };

// One message of a pattern: its tokens in order.
class TokenList {
public:
    constexpr void push_back(Token token) { tokens_[size_++] = token; }
    constexpr void push_front(Token token) {
        for (size_t i = size_++; i > 0; --i) tokens_[i] = tokens_[i - 1];
        tokens_[0] = token;
    }
    [[nodiscard]] constexpr const Token* begin() const { return tokens_.data(); }
    [[nodiscard]] constexpr const Token* end() const { return tokens_.data() + size_; }

private:
    std::array<Token, 6> tokens_{};
    size_t size_ = 0;
};

struct Pattern {
    std::string name;              // "IKpsk1"
    bool initiator_known = false;  // pre-message "-> s"
    bool responder_known = false;  // pre-message "<- s"
    bool has_psk = false;          // a psk modifier: then "e" is mixed into the key as well (section 9.2)
    std::array<TokenList, 3> messages{};
    size_t message_count = 0;
};

// Any of the 15 fundamental patterns (NN … IX, N, K, X), alone or with one modifier psk0 … psk3 that fits it.
[[nodiscard]] std::optional<Pattern> find_pattern(std::string_view name);

enum class Role { initiator, responder };

// What one party brings. Which of these a pattern needs follows from its tokens; a missing one is our mistake and
// asserts when its token comes.
struct HandshakeKeys {
    std::optional<KeyPair> s;     // own static
    std::optional<KeyPair> e;     // own ephemeral: fresh and random for every handshake, or the security is gone
    std::optional<PublicKey> rs;  // the other side's static, when known before
    std::optional<Secret<32>> psk;
};

// Section 5.3. Calls must come in the pattern's turn; after an error the object is dead and only its destructor may
// follow. Both are asserted: a driver that goes on after an error would hand out unauthenticated bytes.
class HandshakeState {
public:
    HandshakeState(const Pattern& pattern, Role role, Bytes prologue, HandshakeKeys keys);

    // The ephemeral pair may also come later, at latest before the message that sends it.
    void set_ephemeral(KeyPair e);

    // Writes the next message into the front of `out` and returns its size; `out` must be large enough.
    [[nodiscard]] Result<size_t, NoiseError> write_message(Bytes payload, MutableBytes out);
    // Reads the next message; the payload goes to the front of `payload`, which must hold message.size() bytes at most.
    // Returns the payload's size. Nothing in `payload` may be used after an error.
    [[nodiscard]] Result<size_t, NoiseError> read_message(Bytes message, MutableBytes payload);

    [[nodiscard]] bool complete() const { return !dead_ && next_ == pattern_.message_count; }
    [[nodiscard]] const Hash& handshake_hash() const { return symmetric_.handshake_hash(); }
    // The other side's static key, authenticated as far as the messages up to now do so.
    [[nodiscard]] const PublicKey& remote_static() const;
    [[nodiscard]] SplitKeys split() const;  // only when complete()

private:
    [[nodiscard]] bool my_turn_to_write() const;
    [[nodiscard]] Result<void, NoiseError> mix_dh(Token token);
    [[nodiscard]] Result<size_t, NoiseError> write_tokens(Bytes payload, MutableBytes out);
    [[nodiscard]] Result<size_t, NoiseError> read_tokens(Bytes message, MutableBytes payload);

    Pattern pattern_;
    Role role_;
    SymmetricState symmetric_;
    HandshakeKeys keys_;
    std::optional<PublicKey> re_;
    size_t next_ = 0;
    bool dead_ = false;
};

}  // namespace qanat::noise
