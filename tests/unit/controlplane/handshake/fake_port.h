// FakePort: a CommandPort that keeps every command, for tests that play the data plane.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "common/ring/codec.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {

class FakePort : public CommandPort {
public:
    struct Command {
        uint32_t engine = 0;
        ring::MessageType type{};
        std::vector<uint8_t> bytes;

        template <ring::Message M>
        [[nodiscard]] M as() const {
            M message;
            EXPECT_EQ(type, M::kType);
            std::memcpy(&message, bytes.data(), sizeof message);
            return message;
        }
    };

    explicit FakePort(uint32_t engines) : engines_(engines) {}

    [[nodiscard]] uint32_t engines() const override { return engines_; }
    void when_flushed(Callback callback) override {
        if (hold_flush)
            waiting.push_back(std::move(callback));
        else
            callback();
    }
    void flush() {
        std::vector<Callback> callbacks;
        callbacks.swap(waiting);
        for (const Callback& callback : callbacks) callback();
    }

    // All commands since the last call.
    std::vector<Command> take() { return std::exchange(commands, {}); }

    template <ring::Message M>
    [[nodiscard]] std::vector<M> all() const {
        std::vector<M> found;
        for (const Command& command : commands)
            if (command.type == M::kType) found.push_back(command.template as<M>());
        return found;
    }

    std::vector<Command> commands;
    std::vector<Callback> waiting;
    bool hold_flush = false;

protected:
    void write(uint32_t engine, ring::MessageType type, Bytes message) override {
        EXPECT_EQ(ring::validate(type, message), ring::CodecError::none) << ring::message_name(type);
        EXPECT_LT(engine, engines_);
        commands.push_back({engine, type, {message.begin(), message.end()}});
    }

private:
    uint32_t engines_;
};

}  // namespace qanat::controlplane
