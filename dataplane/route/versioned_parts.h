// VersionedParts: puts a list together that comes through the ring in parts (PlanPart, PolicyPart), and swaps it in
// when it is whole. Until then the list before stays in force, so a reader never sees half of one.
//
// Two buffers of full size are reserved at construction; nothing allocates after that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qanat::dataplane {

enum class PartOutcome : uint8_t {
    stored,        // right, and more is to come
    complete,      // it was the last one: the new version is in force
    stale,         // of the version in force, or of an older one: ignored
    out_of_order,  // not the part that was expected: the list begun is dropped, this part too unless it is a first one
    invalid,       // its numbers contradict each other or the limits: the list begun is dropped
};

template <class Item>
class VersionedParts {
public:
    explicit VersionedParts(size_t capacity) : capacity_(capacity) {
        current_.reserve(capacity);
        next_.reserve(capacity);
    }

    // One part: `items` are the places [first, first + items.size()) of `total`. A part with first = 0 begins its
    // version anew. Versions are compared as serial numbers (RFC 1982), so they may wrap.
    [[nodiscard]] PartOutcome accept(uint32_t version, uint32_t total, uint32_t first, std::span<const Item> items) {
        if (known_ && static_cast<int32_t>(version - version_) <= 0) return PartOutcome::stale;
        if (total > capacity_ || first > total || items.size() > total - first || (items.empty() && total > 0)) {
            assembling_ = false;
            return PartOutcome::invalid;
        }
        if (first == 0) {
            next_.clear();
            assembling_ = true;
            next_version_ = version;
            next_total_ = total;
        } else if (!assembling_ || version != next_version_ || total != next_total_ || first != next_.size()) {
            assembling_ = false;
            return PartOutcome::out_of_order;
        }
        next_.insert(next_.end(), items.begin(), items.end());
        if (next_.size() < next_total_) return PartOutcome::stored;
        std::swap(current_, next_);
        version_ = next_version_;
        known_ = true;
        assembling_ = false;
        return PartOutcome::complete;
    }

    // Drops a list begun, for an owner that finds an item wrong.
    void abandon() { assembling_ = false; }

    // A new control plane counts versions from anew: the next list is taken whatever its version. The one in force
    // stays until then.
    void accept_any_version() {
        known_ = false;
        assembling_ = false;
    }

    // The list in force. Views into it are valid until accept() answers `complete`.
    [[nodiscard]] std::span<const Item> items() const { return current_; }
    [[nodiscard]] uint32_t version() const { return version_; }  // 0 before the first list

private:
    size_t capacity_;
    std::vector<Item> current_;
    std::vector<Item> next_;
    uint32_t version_ = 0;
    uint32_t next_version_ = 0;
    uint32_t next_total_ = 0;
    bool known_ = false;
    bool assembling_ = false;
};

}  // namespace qanat::dataplane
