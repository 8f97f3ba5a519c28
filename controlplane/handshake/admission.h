// Admission: how many handshakes a node computes (PROTOCOL.md 3.1, steps 1 and 5). Pure; time is an argument.
//
// A Diffie-Hellman costs about 50 µs and a handshake takes four, on the one thread that also renews everybody's
// sessions. So there is a budget per second; when half of its burst is used the node asks for cookies, which makes
// every further handshake cost its sender a round trip from the address it claims; and no single source may take more
// than its share. Only who holds the network key gets this far at all.
#pragma once

#include <cstdint>
#include <map>

#include "common/wire/address.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

// `rate` tokens per second, up to `burst` of them saved up.
class TokenBucket {
public:
    TokenBucket(double rate, double burst, Instant now) : rate_(rate), burst_(burst), tokens_(burst), at_(now) {}

    [[nodiscard]] double level(Instant now);
    // False, and nothing is taken, when less than one token is there.
    [[nodiscard]] bool take(Instant now);

private:
    double rate_;
    double burst_;
    double tokens_;
    Instant at_;
};

class Admission {
public:
    struct Settings {
        double handshakes_per_second = 500;
        double handshakes_burst = 1000;
        double source_per_second = 20;
        double source_burst = 100;
    };
    static constexpr size_t kSourcesMax = 4096;

    Admission(Settings settings, Instant now)
        : settings_(settings), budget_(settings.handshakes_per_second, settings.handshakes_burst, now) {}

    // True: answer with a cookie challenge what has none.
    [[nodiscard]] bool under_load(Instant now) { return budget_.level(now) < settings_.handshakes_burst / 2; }

    // May this source have one more handshake computed now? Takes from both budgets if so.
    [[nodiscard]] bool admit(const wire::IpAddress& source, Instant now);

private:
    void forget_idle_sources(Instant now);

    Settings settings_;
    TokenBucket budget_;
    std::map<wire::IpAddress, TokenBucket> sources_;
};

}  // namespace qanat::controlplane
