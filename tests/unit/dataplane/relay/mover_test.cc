// The two movers face to face over socket pairs: what one seals, the other opens, however it is cut; what was changed
// on the way ends the lane, never the process, and never as a clean end.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <random>
#include <string>

#include "dataplane/relay/open_mover.h"
#include "dataplane/relay/seal_mover.h"

namespace qanat::dataplane {
namespace {

struct Pipe {
    Pipe() {
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        // Room for a whole burst, so that a test decides itself when the sink is full.
        const int size = 1 << 20;
        for (int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    ~Pipe() {
        ::close(ends[0]);
        ::close(ends[1]);
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;

    void write(const std::string& text) { ASSERT_EQ(::send(ends[0], text.data(), text.size(), 0), std::ssize(text)); }
    std::string read_available() {
        std::string all;
        char buffer[65536];
        for (ssize_t count = 0; (count = ::recv(ends[1], buffer, sizeof buffer, 0)) > 0;)
            all.append(buffer, static_cast<size_t>(count));
        return all;
    }
    [[nodiscard]] bool ended() {
        char byte;
        return ::recv(ends[1], &byte, 1, MSG_PEEK) == 0;
    }

    int ends[2];  // written at 0, read at 1
};

class MoverTest : public ::testing::Test {
protected:
    MoverTest() { reset(); }
    void reset() {
        seal_.release(chunks_, keys_);
        open_.release(chunks_, keys_);
        seal_ = Lane{};
        open_ = Lane{};
        seal_.key.suite = open_.key.suite = crypto::Suite::chacha20_poly1305;
        seal_.key.key.fill(7);
        open_.key.key.fill(7);
        seal_.key_tag = ++tag_;
        open_.key_tag = ++tag_;
    }
    ~MoverTest() override {
        seal_.release(chunks_, keys_);
        open_.release(chunks_, keys_);
        EXPECT_EQ(chunks_.used(), 0u);
    }
    MoverResources resources() { return {chunks_, keys_, burst_}; }

    // What the engine would do: call again when what the lane waits for is there. The sink always is.
    static bool goes_on(Move move, const Pipe& source) {
        pollfd readable{.fd = source.ends[1], .events = POLLIN, .revents = 0};
        if (move == Move::wait_source) return ::poll(&readable, 1, 0) == 1;
        return move == Move::yield || move == Move::wait_sink;
    }

    // The records of `text`, closed at the end if asked for.
    std::string sealed(const std::string& text, bool close) {
        Pipe source;
        Pipe sink;
        source.write(text);
        if (close) ::shutdown(source.ends[0], SHUT_WR);
        std::string records;
        Move move = Move::yield;
        while (goes_on(move, source)) {
            move = seal_some(seal_, resources(), source.ends[1], sink.ends[0]);
            records += sink.read_available();
        }
        EXPECT_EQ(move, close ? Move::finished : Move::wait_source);
        return records;
    }

    // What the opening lane makes of `wire`, given to it in the parts that `cuts` make.
    struct Opened {
        std::string text;
        Move move = Move::wait_source;
        bool clean_end = false;
    };
    Opened opened(const std::string& wire, const std::vector<size_t>& cuts, bool end_after = false) {
        Pipe source;
        Pipe sink;
        Opened result;
        size_t from = 0;
        auto run = [&] {
            do {
                result.move = open_some(open_, resources(), source.ends[1], sink.ends[0]);
                result.text += sink.read_available();
            } while (goes_on(result.move, source));
        };
        for (size_t cut : cuts) {
            if (cut > from) source.write(wire.substr(from, cut - from));
            from = cut;
            run();
            if (result.move != Move::wait_source) break;
        }
        if (result.move == Move::wait_source) {
            if (from < wire.size()) source.write(wire.substr(from));
            if (end_after) ::shutdown(source.ends[0], SHUT_WR);
            run();
        }
        if (result.move == Move::finished) ::shutdown(sink.ends[0], SHUT_WR);  // as the stream does
        result.clean_end = sink.ended();
        return result;
    }

    ChunkPool chunks_{64};
    KeyCache keys_{16};
    BurstBuffer burst_;
    Lane seal_;
    Lane open_;
    uint64_t tag_ = 0;
};

std::string text_of(size_t size) {
    std::string text(size, '\0');
    std::mt19937 random(static_cast<unsigned>(size));
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

TEST_F(MoverTest, SplitAtEveryByteItIsTheSameText) {
    const std::string text = text_of(300);
    const std::string wire = sealed(text, true);
    for (size_t cut = 0; cut <= wire.size(); ++cut) {
        reset();
        const Opened result = opened(wire, {cut});
        ASSERT_EQ(result.text, text) << cut;
        ASSERT_EQ(result.move, Move::finished) << cut;
        ASSERT_TRUE(result.clean_end) << cut;
    }
}

TEST_F(MoverTest, RecordBoundariesFromBothSides) {
    for (size_t size : {1u, 16383u, 16384u, 16385u, 32767u, 32768u, 32769u, 262143u, 262144u, 262145u}) {
        reset();
        const std::string text = text_of(size);
        const std::string wire = sealed(text, true);
        const Opened result = opened(wire, {wire.size() / 3, wire.size() / 2});
        EXPECT_TRUE(result.text == text) << size;
        EXPECT_EQ(result.move, Move::finished) << size;
    }
}

TEST_F(MoverTest, EveryFlippedBitEndsTheLaneAndNothingForgedIsDelivered) {
    const std::string first = sealed("first", false);
    const std::string second = sealed("second", false);
    for (size_t bit = 0; bit < second.size() * 8; ++bit) {
        reset();
        std::string forged = second;
        forged[bit / 8] = static_cast<char>(forged[bit / 8] ^ (1 << (bit % 8)));
        const Opened result = opened(first + forged, {}, true);
        ASSERT_EQ(result.text, "first") << bit;  // what was authentic has been delivered
        // A length made larger waits for bytes that never come.
        ASSERT_TRUE(result.move == Move::bad_record || result.move == Move::truncated) << bit;
        ASSERT_FALSE(result.clean_end) << bit;
    }
}

TEST_F(MoverTest, AnEndWithoutCloseNotifyIsATruncationAtEveryByte) {
    const std::string wire = sealed("payload", true);
    const size_t before_close = wire.size() - (wire::kRecordOverhead + 2);
    for (size_t size = 0; size < wire.size(); ++size) {
        reset();
        const Opened result = opened(wire.substr(0, size), {}, true);
        ASSERT_EQ(result.move, Move::truncated) << size;
        ASSERT_EQ(result.text, size >= before_close ? "payload" : "") << size;
        ASSERT_FALSE(result.clean_end) << size;
    }
}

TEST_F(MoverTest, NothingMayFollowCloseNotify) {
    Pipe sink;
    std::string wire = sealed("a", false);
    std::array<uint8_t, 64> more;
    const auto& aead = keys_.context(seal_.key, seal_.key_tag);
    size_t size = wire::seal_record_copy(aead, seal_.key, more, wire::kCloseNotify, wire::ContentType::alert);
    wire.append(reinterpret_cast<char*>(more.data()), size);
    size = wire::seal_record_copy(aead, seal_.key, more, as_bytes("b"), wire::ContentType::data);
    wire.append(reinterpret_cast<char*>(more.data()), size);
    const Opened result = opened(wire, {});
    EXPECT_EQ(result.move, Move::bad_record);
    EXPECT_EQ(result.text, "a");
}

TEST_F(MoverTest, AnEndMaySayThatTheTunnelIsParked) {
    for (const bool parks : {false, true}) {
        reset();
        seal_.parks = parks;
        const Opened result = opened(sealed("last", true), {});
        EXPECT_EQ(result.text, "last");
        EXPECT_EQ(result.move, Move::finished);
        EXPECT_EQ(open_.parks, parks);
    }
}

TEST_F(MoverTest, APassedOnKeyGoesOnWhereItWas) {
    std::string wire = sealed("first", false);
    const uint64_t tag = seal_.key_tag;
    Lane next = seal_.pass_on();
    EXPECT_EQ(seal_.key_tag, 0u);
    EXPECT_EQ(seal_.key.sequence, 0u);
    EXPECT_EQ(next.key_tag, tag);
    EXPECT_EQ(next.bytes, 0u);
    std::swap(seal_, next);
    wire += sealed("second", false);
    EXPECT_EQ(opened(wire, {}).text, "firstsecond");
}

TEST_F(MoverTest, AnAbortEndsAfterDelivery) {
    std::string wire = sealed("last", false);
    Pipe sink;
    ASSERT_TRUE(seal_abort(seal_, resources(), sink.ends[0]));
    const Opened result = opened(wire + sink.read_available(), {});
    EXPECT_EQ(result.text, "last");
    EXPECT_EQ(result.move, Move::aborted);
    EXPECT_FALSE(result.clean_end);
}

TEST_F(MoverTest, ControlRecordsAreNotAllowedHere) {
    std::array<uint8_t, 64> record;
    const size_t size = wire::seal_record_copy(keys_.context(seal_.key, seal_.key_tag), seal_.key, record,
                                               as_bytes("x"), wire::ContentType::control);
    EXPECT_EQ(opened(std::string(reinterpret_cast<char*>(record.data()), size), {}).move, Move::bad_record);
}

TEST_F(MoverTest, EmptyRecordsAreCountedInARow) {
    for (unsigned count : {wire::kEmptyRecordsMax, wire::kEmptyRecordsMax + 1}) {
        reset();
        std::string wire;
        std::array<uint8_t, 64> record;
        for (unsigned i = 0; i < count; ++i) {
            const size_t size = wire::seal_record_copy(keys_.context(seal_.key, seal_.key_tag), seal_.key, record, {},
                                                       wire::ContentType::data);
            wire.append(reinterpret_cast<char*>(record.data()), size);
        }
        EXPECT_EQ(opened(wire, {}).move, count > wire::kEmptyRecordsMax ? Move::bad_record : Move::wait_source);
    }
}

TEST_F(MoverTest, ManySmallRecordsInOneBurst) {
    std::string text;
    std::string wire;
    for (int i = 0; i < 3000; ++i) {
        const std::string part = text_of(static_cast<size_t>(1 + i % 90));
        text += part;
        wire += sealed(part, false);
    }
    EXPECT_TRUE(opened(wire, {100'000}).text == text);
}

TEST_F(MoverTest, AFullSinkKeepsTheRestAndStopsReading) {
    Pipe source;
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    const std::string text = text_of(512 * 1024);
    size_t offered = 0;
    size_t rounds = 0;
    Move move = Move::wait_source;
    while (move != Move::wait_sink) {
        const ssize_t count = ::send(source.ends[0], text.data() + offered, text.size() - offered, 0);
        if (count > 0) offered += static_cast<size_t>(count);
        move = seal_some(seal_, resources(), source.ends[1], ends[0]);
        ASSERT_LT(++rounds, 100u);
    }
    const uint64_t read_so_far = seal_.bytes;
    EXPECT_EQ(seal_some(seal_, resources(), source.ends[1], ends[0]), Move::wait_sink);
    EXPECT_EQ(seal_.bytes, read_so_far);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_F(MoverTest, WithoutMemoryItWaitsAndReadsNothing) {
    Pipe source;
    Pipe sink;
    std::vector<ChunkIndex> taken;
    while (chunks_.available() > 2) taken.push_back(chunks_.acquire());
    source.write("text");
    EXPECT_EQ(seal_some(seal_, resources(), source.ends[1], sink.ends[0]), Move::wait_memory);
    EXPECT_EQ(open_some(open_, resources(), source.ends[1], sink.ends[0]), Move::wait_memory);
    for (ChunkIndex chunk : taken) chunks_.release(chunk);
    EXPECT_EQ(seal_some(seal_, resources(), source.ends[1], sink.ends[0]), Move::wait_source);
}

TEST_F(MoverTest, TheKeysLimitEndsTheLaneWithRoomForTheAbort) {
    Pipe source;
    Pipe sink;
    source.write("text");
    seal_.key.bytes = wire::kDirectionBytesMax - wire::kRecordSizeMax;
    EXPECT_EQ(seal_some(seal_, resources(), source.ends[1], sink.ends[0]), Move::key_exhausted);
    EXPECT_TRUE(seal_abort(seal_, resources(), sink.ends[0]));
}

TEST_F(MoverTest, EarlyRecordsAreOpenedBeforeAnythingIsRead) {
    std::string wire = sealed("early", false);
    wire += sealed("late", true);
    Pipe source;
    Pipe sink;
    carry_over(open_, chunks_, as_bytes(wire).first(40));
    source.write(wire.substr(40));
    Move move = Move::yield;
    while (goes_on(move, source)) move = open_some(open_, resources(), source.ends[1], sink.ends[0]);
    EXPECT_EQ(move, Move::finished);
    EXPECT_EQ(sink.read_available(), "earlylate");
}

}  // namespace
}  // namespace qanat::dataplane
