#include "dataplane/socks5/server.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "common/crypto/sha256.h"

namespace qanat::dataplane {
namespace {

using Kind = Socks5Server::Step::Kind;
using ring::EndReason;
using wire::StreamStatus;

std::string operator""_b(const char* text, size_t size) {
    return {text, size};
}

std::string text_of(Bytes bytes) {
    return std::string(as_text(bytes));
}

const Socks5Users& alice() {
    static const Socks5Users users = [] {
        ring::Users message{};
        message.required = 1;
        message.count = 1;
        message.salt.fill(7);
        message.tags[0] = crypto::hmac_sha256(message.salt, {as_bytes("\x05"
                                                                      "alice"
                                                                      "secret")});
        return Socks5Users(message);
    }();
    return users;
}

struct Outcome {
    Kind kind = Kind::need_more;
    EndReason reason = EndReason::none;
    std::string output;
    std::string target;
    size_t consumed = 0;

    friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    return out << "kind " << static_cast<int>(outcome.kind) << " reason " << end_reason_name(outcome.reason)
               << " output " << testing::PrintToString(outcome.output) << " target " << outcome.target << " consumed "
               << outcome.consumed;
}

// Feeds the pieces that the cuts make of `input`, keeping what is not consumed, as the engine does.
Outcome run(const std::string& input, const Socks5Users* users, const std::vector<size_t>& cuts) {
    Socks5Server server(users);
    Outcome outcome;
    size_t from = 0;
    for (size_t i = 0; i <= cuts.size() && outcome.kind == Kind::need_more; ++i) {
        const size_t to = i < cuts.size() ? cuts[i] : input.size();
        const auto step = server.feed(as_bytes(std::string_view(input).substr(from, to - from)));
        EXPECT_LE(step.consumed, to - from);
        from += step.consumed;
        outcome.kind = step.kind;
        outcome.reason = step.reason;
        outcome.output += text_of(server.take_output());
        EXPECT_TRUE(server.take_output().empty());
    }
    if (outcome.kind == Kind::request) {
        outcome.target = server.target().format();
        outcome.consumed = from;
    }
    return outcome;
}

// At once, cut at every place, and byte by byte must all be the same.
Outcome run_every_way(const std::string& input, const Socks5Users* users = nullptr) {
    const Outcome at_once = run(input, users, {});
    std::vector<size_t> everywhere;
    for (size_t cut = 0; cut <= input.size(); ++cut) {
        EXPECT_EQ(run(input, users, {cut}), at_once) << "cut at " << cut;
        everywhere.push_back(cut);
    }
    EXPECT_EQ(run(input, users, everywhere), at_once);
    return at_once;
}

const std::string kHello = "\x05\x01\x00"_b;
const std::string kHelloLogin = "\x05\x01\x02"_b;
const std::string kLogin =
    "\x01\x05"
    "alice"
    "\x06"
    "secret";
const std::string kConnect = "\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50"_b;
const std::string kFailureTail = "\x00\x01\x00\x00\x00\x00\x00\x00"_b;

std::string failure(char reply) {
    return "\x05"_b + reply + kFailureTail;
}

TEST(Socks5Server, connect_without_login) {
    const Outcome outcome = run_every_way(kHello + kConnect);
    EXPECT_EQ(outcome, (Outcome{Kind::request, EndReason::none, "\x05\x00"_b, "1.2.3.4:80", 13}));
}

TEST(Socks5Server, early_application_data_is_not_consumed) {
    const Outcome outcome = run_every_way(kHello + kConnect + "GET / HTTP/1.1\r\n\r\n");
    EXPECT_EQ(outcome, (Outcome{Kind::request, EndReason::none, "\x05\x00"_b, "1.2.3.4:80", 13}));
    // Data that itself looks like a greeting stays data.
    EXPECT_EQ(run_every_way(kHello + kConnect + kHello + kConnect).consumed, 13U);
}

TEST(Socks5Server, login) {
    const Outcome outcome = run_every_way(kHelloLogin + kLogin + kConnect + "early", &alice());
    EXPECT_EQ(outcome, (Outcome{Kind::request, EndReason::none, "\x05\x02\x01\x00"_b, "1.2.3.4:80",
                                kHelloLogin.size() + kLogin.size() + kConnect.size()}));
}

TEST(Socks5Server, wrong_login) {
    for (const std::string& login : {"\x01\x05"
                                     "alice"
                                     "\x06"
                                     "Secret"_b,
                                     "\x01\x05"
                                     "alice"
                                     "\x00"_b,
                                     "\x01\x00\x06"
                                     "secret"_b,
                                     "\x01\x00\x00"_b,
                                     "\x01\x01"
                                     "a"
                                     "\x01"
                                     "s"_b,
                                     "\x01\xff"_b + std::string(255, 'a') + "\xff"_b + std::string(255, 's')}) {
        const Outcome outcome = run_every_way(kHelloLogin + login + kConnect, &alice());
        EXPECT_EQ(outcome, (Outcome{Kind::refuse, EndReason::socks_refused, "\x05\x02\x01\x01"_b, "", 0}));
    }
}

TEST(Socks5Server, login_of_another_version) {
    for (const char version : {'\x00', '\x02', '\x05', '\xff'}) {
        const Outcome outcome = run_every_way(kHelloLogin + version + kLogin.substr(1), &alice());
        EXPECT_EQ(outcome, (Outcome{Kind::refuse, EndReason::socks_malformed, "\x05\x02\x01\x01"_b, "", 0}));
    }
}

TEST(Socks5Server, longest_login_that_matches) {
    ring::Users message{};
    message.required = 1;
    message.count = 1;
    const std::string user(255, 'u'), password(255, 'p');
    message.tags[0] = crypto::hmac_sha256(message.salt, {as_bytes("\xff"), as_bytes(user), as_bytes(password)});
    const Socks5Users users(message);
    const std::string login = "\x01\xff"_b + user + "\xff"_b + password;
    ASSERT_EQ(login.size(), kSocks5MessageSizeMax);
    EXPECT_EQ(run_every_way(kHelloLogin + login + kConnect, &users).kind, Kind::request);
}

TEST(Socks5Server, method_choice) {
    std::string all;
    for (unsigned method = 0; method < 255; ++method) all.push_back(static_cast<char>(method));
    std::string none_known;
    for (unsigned method = 0; method < 255; ++method) none_known.push_back(static_cast<char>(3 + method % 252));
    const struct {
        std::string methods;
        char open, login;  // chosen without and with users required
    } table[] = {
        {"", '\xff', '\xff'},
        {"\x00"_b, '\x00', '\xff'},
        {"\x02", '\x02', '\x02'},
        {"\x01", '\xff', '\xff'},  // GSSAPI
        {"\x00\x02"_b, '\x00', '\x02'},
        {"\x02\x00"_b, '\x00', '\x02'},
        {"\x00\x01\x02"_b, '\x00', '\x02'},
        {"\x01\x80\xfe", '\xff', '\xff'},
        {"\xff", '\xff', '\xff'},  // not a method that can be offered
        {all, '\x00', '\x02'},
        {none_known, '\xff', '\xff'},
    };
    for (const auto& row : table) {
        for (const bool login : {false, true}) {
            const std::string hello = "\x05"_b + static_cast<char>(row.methods.size()) + row.methods;
            const Outcome outcome = run_every_way(hello, login ? &alice() : nullptr);
            const char chosen = login ? row.login : row.open;
            EXPECT_EQ(outcome.output, "\x05"_b + chosen) << testing::PrintToString(row.methods);
            EXPECT_EQ(outcome.kind, chosen == '\xff' ? Kind::refuse : Kind::need_more);
            EXPECT_EQ(outcome.reason, chosen == '\xff' ? EndReason::socks_refused : EndReason::none);
        }
    }
}

TEST(Socks5Server, any_login_will_do_when_none_is_required) {
    const Socks5Users nobody;
    for (const Socks5Users* users : {static_cast<const Socks5Users*>(nullptr), &nobody}) {
        for (const std::string& login : {kLogin, "\x01\x00\x00"_b,
                                         "\x01\x01"
                                         "x"
                                         "\x00"_b}) {
            const Outcome outcome = run_every_way(kHelloLogin + login + kConnect, users);
            EXPECT_EQ(outcome.kind, Kind::request);
            EXPECT_EQ(outcome.output, "\x05\x02\x01\x00"_b);
        }
    }
}

TEST(Socks5Server, not_socks5_gets_no_byte) {
    for (const std::string& input : {"\x04\x01\x00\x50\x01\x02\x03\x04\x00"_b, "GET / HTTP/1.1\r\n"_b, "\x16\x03\x01"_b,
                                     "\x00"_b, "\xff\xff\xff"_b}) {
        EXPECT_EQ(run_every_way(input), (Outcome{Kind::refuse, EndReason::socks_malformed, "", "", 0}));
    }
}

TEST(Socks5Server, incomplete_at_every_length) {
    const std::string whole = kHelloLogin + kLogin + kConnect;
    for (size_t size = 0; size < whole.size(); ++size)
        EXPECT_EQ(run_every_way(whole.substr(0, size), &alice()).kind, Kind::need_more) << size;
}

struct Request {
    std::string bytes;
    Kind kind;
    EndReason reason;
    char reply;          // of a refusal
    std::string target;  // of a request
};

TEST(Socks5Server, requests) {
    const auto named = [](const std::string& name) {
        return "\x05\x01\x00\x03"_b + static_cast<char>(name.size()) + name + "\x01\xbb"_b;
    };
    const auto accepted = [](const std::string& bytes, const std::string& target) {
        return Request{bytes, Kind::request, EndReason::none, 0, target};
    };
    const auto malformed = [](const std::string& bytes) {
        return Request{bytes, Kind::refuse, EndReason::socks_malformed, 1, ""};
    };
    const auto unsupported = [](const std::string& bytes, char reply) {
        return Request{bytes, Kind::refuse, EndReason::socks_refused, reply, ""};
    };
    const std::string v4 = "\x01\x01\x02\x03\x04\x00\x50"_b;
    const std::string v6 = "\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50"_b;
    const std::string mapped = "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\x00\x50"_b;
    const std::vector<Request> table = {
        accepted("\x05\x01\x00"_b + v4, "1.2.3.4:80"),
        accepted("\x05\x01\x00"_b + v6, "[2001:db8::1]:80"),
        accepted("\x05\x01\x00"_b + mapped, "127.0.0.1:80"),
        accepted("\x05\x01\xff"_b + v4, "1.2.3.4:80"),  // RSV
        accepted("\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"_b, "0.0.0.0:0"),
        accepted("\x05\x01\x00\x01\x01\x02\x03\x04\xff\xff"_b, "1.2.3.4:65535"),
        accepted(named("a"), "a:443"),
        accepted(named("example.com"), "example.com:443"),
        accepted(named(std::string(255, 'x')), std::string(255, 'x') + ":443"),
        accepted(named("\xc3\xa4.example"), "\\xc3\\xa4.example:443"),
        accepted(named("\xff"), "\\xff:443"),
        accepted(named("127.0.0.1"), "127.0.0.1:443"),
        accepted(named("::1"), "[::1]:443"),
        accepted(named("::ffff:10.0.0.1"), "10.0.0.1:443"),
        malformed(named("")),
        malformed(named("a\0b"_b)),
        malformed(named("\0"_b)),
        malformed(named("a\nb")),
        malformed(named("a\x7f")),
        malformed("\x04\x01\x00"_b + v4),
        malformed("\x00\x01\x00"_b + v4),
        unsupported("\x05\x02\x00"_b + v4, 7),  // BIND
        unsupported("\x05\x03\x00"_b + v4, 7),  // UDP ASSOCIATE
        unsupported("\x05\x03\x00"_b + v6, 7),
        unsupported("\x05\x00\x00"_b + v4, 7),
        unsupported("\x05\x04\x00"_b + v4, 7),
        unsupported("\x05\xff\x00"_b + v4, 7),
        unsupported("\x05\x02\x00\x09"_b, 7),
        unsupported("\x05\x02\x00\x03\x00\x00\x50"_b, 7),
        unsupported("\x05\x01\x00\x00"_b, 8),
        unsupported("\x05\x01\x00\x02"_b + v4, 8),
        unsupported("\x05\x01\x00\x05"_b, 8),
        unsupported("\x05\x01\x00\xff"_b, 8),
    };
    for (const Request& row : table) {
        Outcome expected{row.kind, row.reason, "\x05\x00"_b, row.target, 0};
        if (row.kind == Kind::refuse) expected.output += failure(row.reply);
        if (row.kind == Kind::request) expected.consumed = kHello.size() + row.bytes.size();
        EXPECT_EQ(run_every_way(kHello + row.bytes), expected) << testing::PrintToString(row.bytes);
    }
}

// A command that is refused is refused when its request is complete: the reply must not be lost to a reset.
TEST(Socks5Server, a_refused_command_waits_for_its_address) {
    Socks5Server server(nullptr);
    const std::string input = kHello + "\x05\x02\x00\x01\x01\x02\x03\x04\x00"_b;
    EXPECT_EQ(server.feed(as_bytes(input)).kind, Kind::need_more);
}

TEST(Socks5Server, refusal_swallows_everything_and_repeats) {
    Socks5Server server(nullptr);
    const std::string input = "\x05\x01\x01 and more";
    auto step = server.feed(as_bytes(input));
    EXPECT_EQ(step.kind, Kind::refuse);
    EXPECT_EQ(step.consumed, input.size());
    EXPECT_EQ(text_of(server.take_output()), "\x05\xff");
    step = server.feed(as_bytes("more"));
    EXPECT_EQ(step.kind, Kind::refuse);
    EXPECT_EQ(step.consumed, 4U);
    EXPECT_EQ(step.reason, EndReason::socks_refused);
    EXPECT_TRUE(server.take_output().empty());
}

TEST(Socks5Server, empty_feeds_change_nothing) {
    Socks5Server server(nullptr);
    for (const std::string& part : {kHello, kConnect}) {
        EXPECT_EQ(server.feed({}).kind, Kind::need_more);
        EXPECT_TRUE(server.take_output().empty());
        (void)server.feed(as_bytes(part));
    }
    EXPECT_EQ(server.target().format(), "1.2.3.4:80");
}

TEST(Socks5Reply, of_each_status) {
    const struct {
        StreamStatus status;
        uint8_t reply;
    } table[] = {
        {StreamStatus::ok, 0},
        {StreamStatus::general_failure, 1},
        {StreamStatus::denied, 2},
        {StreamStatus::network_unreachable, 3},
        {StreamStatus::host_unreachable, 4},
        {StreamStatus::connection_refused, 5},
        {StreamStatus::timed_out, 6},
        {StreamStatus::kind_not_supported, 7},
        {StreamStatus::address_type_not_supported, 8},
        {StreamStatus::name_not_found, 4},
        {StreamStatus::name_unresolved, 4},
        {StreamStatus::at_capacity, 1},
        {StreamStatus::draining, 1},
        {StreamStatus::parked, 1},
    };
    for (const auto& row : table)
        EXPECT_EQ(static_cast<uint8_t>(reply_for(row.status)), row.reply) << stream_status_name(row.status);
}

TEST(Socks5Reply, encoding) {
    std::array<uint8_t, kSocks5ReplySizeMax> out{};
    size_t size = encode_reply(out, Socks5Reply::succeeded, *wire::Endpoint::parse("192.0.2.1:4660"));
    EXPECT_EQ(text_of(Bytes(out).first(size)), "\x05\x00\x00\x01\xc0\x00\x02\x01\x12\x34"_b);
    size = encode_reply(out, Socks5Reply::address_unsupported, *wire::Endpoint::parse("[2001:db8::1]:80"));
    EXPECT_EQ(text_of(Bytes(out).first(size)),
              "\x05\x08\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50"_b);
    size = encode_reply(out, Socks5Reply::refused, {});
    EXPECT_EQ(text_of(Bytes(out).first(size)), failure(5));
}

// Random bytes and random damage to good input: whatever the cuts, the same end, and never more output than fits.
TEST(Socks5Server, random_input) {
    std::mt19937 random(20250101);
    const std::string good = kHelloLogin + kLogin + kConnect + "early data";
    for (int round = 0; round < 20000; ++round) {
        std::string input = good;
        if (round % 3 == 0) {
            input.resize(random() % 64);
            for (char& byte : input) byte = static_cast<char>(random());
            if (!input.empty()) input[0] = 5;
        }
        for (auto change = random() % 3; change > 0 && !input.empty(); --change)
            input[random() % input.size()] = static_cast<char>(random());
        std::vector<size_t> cuts;
        for (size_t place = 0; place <= input.size(); ++place)
            if (random() % 4 == 0) cuts.push_back(place);
        const Socks5Users* users = round % 2 == 0 ? &alice() : nullptr;
        const Outcome at_once = run(input, users, {});
        ASSERT_EQ(run(input, users, cuts), at_once) << testing::PrintToString(input);
    }
}

}  // namespace
}  // namespace qanat::dataplane
