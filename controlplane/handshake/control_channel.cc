#include "controlplane/handshake/control_channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace qanat::controlplane {

ControlChannel::ControlChannel(Side side, const wire::SessionSecrets& secrets)
    : seal_key_(wire::control_key(side == Side::client ? secrets.ctl_client : secrets.ctl_node, secrets.suite)),
      open_key_(wire::control_key(side == Side::client ? secrets.ctl_node : secrets.ctl_client, secrets.suite)) {
    sealer_.expand(seal_key_.suite, seal_key_.key_bytes());
    opener_.expand(open_key_.suite, open_key_.key_bytes());
}

ControlChannel::~ControlChannel() {
    seal_key_.wipe();
    open_key_.wipe();
}

std::optional<std::vector<uint8_t>> ControlChannel::seal(const wire::ControlMessage& message) {
    std::vector<uint8_t> record(message.record_size());
    if (wire::seal_control_record(sealer_, seal_key_, record, message) == 0) return std::nullopt;
    return record;
}

ControlChannel::Input ControlChannel::feed(Bytes bytes) {
    Input input;
    while (!ended_ && !bytes.empty()) {
        // First the header, then exactly the record: nothing of the next one is taken before this one is opened.
        size_t wanted = wire::kRecordHeaderSize;
        if (size_ >= wire::kRecordHeaderSize) {
            const auto size = wire::record_size(Bytes(buffer_).first(size_));
            if (!size || (*size != wire::kControlRecordSize && *size != wire::kControlRecordSizeMax)) {
                ended_ = true;
                break;
            }
            wanted = *size;
        }
        const size_t count = std::min(wanted - size_, bytes.size());
        std::memcpy(buffer_.data() + size_, bytes.data(), count);
        size_ += count;
        bytes = bytes.subspan(count);
        if (size_ == wanted && wanted > wire::kRecordHeaderSize) open_one(input);
    }
    input.ended = ended_;
    return input;
}

void ControlChannel::open_one(Input& input) {
    const size_t record_size = std::exchange(size_, 0);
    const auto record = wire::open_record(opener_, open_key_, MutableBytes(buffer_).first(record_size));
    // An alert of any kind ends the connection, and so does what does not belong here.
    if (!record || record->type != wire::ContentType::control) {
        ended_ = true;
        return;
    }
    const auto message = wire::decode_control_message(record->content);
    if (message && message->record_size() == record_size)
        input.messages.push_back(*message);
    else
        ended_ = true;
}

}  // namespace qanat::controlplane
