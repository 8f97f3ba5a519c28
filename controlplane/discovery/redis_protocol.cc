#include "controlplane/discovery/redis_protocol.h"

#include <hiredis/hiredis.h>

#include "common/base/assert.h"
#include "common/base/log.h"

namespace qanat::controlplane {
namespace {

// hiredis builds replies through these functions. A null pointer from one of them ends the parsing with an error.

struct Limit {
    size_t elements_left = RedisParser::kElementsMax;
    size_t bytes_left = RedisParser::kReplySizeMax;
};

// Where the value of `task` belongs: a new object, or its place in the array that is being filled.
RedisReply* place_of(const redisReadTask* task) {
    if (task->parent == nullptr) return std::make_unique<RedisReply>().release();
    return &static_cast<RedisReply*>(task->parent->obj)->elements[static_cast<size_t>(task->idx)];
}

void* create_text(const redisReadTask* task, char* text, size_t size) {
    auto& left = static_cast<Limit*>(task->privdata)->bytes_left;
    if (size > left) return nullptr;
    left -= size;
    RedisReply* reply = place_of(task);
    reply->kind = task->type == REDIS_REPLY_ERROR    ? RedisReply::Kind::error
                  : task->type == REDIS_REPLY_STATUS ? RedisReply::Kind::status
                                                     : RedisReply::Kind::text;
    reply->text.assign(text, size);
    return reply;
}

void* create_array(const redisReadTask* task, int elements) {
    auto& left = static_cast<Limit*>(task->privdata)->elements_left;
    if (elements < 0 || static_cast<size_t>(elements) > left) return nullptr;
    left -= static_cast<size_t>(elements);
    RedisReply* reply = place_of(task);
    reply->kind = RedisReply::Kind::array;
    reply->elements.resize(static_cast<size_t>(elements));
    return reply;
}

void* create_integer(const redisReadTask* task, long long value) {
    RedisReply* reply = place_of(task);
    reply->kind = RedisReply::Kind::integer;
    reply->number = value;
    return reply;
}

void* create_nil(const redisReadTask* task) {
    return place_of(task);
}

// Only ever called for a whole reply.
void free_reply(void* reply) {
    const std::unique_ptr<RedisReply> owned(static_cast<RedisReply*>(reply));
}

redisReplyObjectFunctions functions{&create_text, &create_array, &create_integer, &create_nil, &free_reply};

}  // namespace

std::string format_redis_command(std::span<const std::string> arguments) {
    std::vector<const char*> texts;
    std::vector<size_t> sizes;
    for (const std::string& argument : arguments) {
        texts.push_back(argument.data());
        sizes.push_back(argument.size());
    }
    char* command = nullptr;
    const int size = redisFormatCommandArgv(&command, static_cast<int>(texts.size()), texts.data(), sizes.data());
    QANAT_ASSERT(size > 0);
    std::string formatted(command, static_cast<size_t>(size));
    redisFreeCommand(command);
    return formatted;
}

struct RedisParser::State {
    struct Free {
        void operator()(redisReader* owned) const { redisReaderFree(owned); }
    };

    Limit limit;
    std::unique_ptr<redisReader, Free> reader{redisReaderCreateWithFunctions(&functions)};
};

RedisParser::RedisParser() : state_(std::make_unique<State>()) {
    QANAT_ASSERT(state_->reader != nullptr);
    state_->reader->privdata = &state_->limit;
}

RedisParser::~RedisParser() = default;

Result<void> RedisParser::feed(Bytes bytes) {
    redisReader& reader = *state_->reader;
    if (reader.len - reader.pos + bytes.size() > kReplySizeMax)
        return fail("a reply that is larger than any that was asked for");
    if (redisReaderFeed(&reader, as_text(bytes).data(), bytes.size()) != REDIS_OK)
        return fail("not the protocol of Redis");
    return {};
}

Result<std::optional<RedisReply>> RedisParser::next() {
    redisReader& reader = *state_->reader;
    void* reply = nullptr;
    if (redisReaderGetReply(&reader, &reply) != REDIS_OK)
        return fail(reader.err == REDIS_ERR_OOM ? "a reply that is larger than any that was asked for"
                                                : "not the protocol of Redis: " + printable(reader.errstr));
    if (reply == nullptr) return std::nullopt;
    state_->limit = {};
    const std::unique_ptr<RedisReply> owned(static_cast<RedisReply*>(reply));
    return std::move(*owned);
}

}  // namespace qanat::controlplane
