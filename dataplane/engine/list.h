// List<T, &T::hook>: a doubly linked list through a hook inside T. An object is in at most one list per hook; unlinking
// needs no search and allocates nothing.
#pragma once

#include "common/base/assert.h"

namespace qanat::dataplane {

template <class T>
struct ListHook {
    T* next = nullptr;
    T* previous = nullptr;
    bool linked = false;
};

template <class T, ListHook<T> T::*Hook>
class List {
public:
    List() = default;
    List(const List&) = delete;
    List& operator=(const List&) = delete;

    [[nodiscard]] bool empty() const { return first_ == nullptr; }
    [[nodiscard]] T* front() const { return first_; }
    [[nodiscard]] T* back() const { return last_; }
    [[nodiscard]] static T* next(const T& item) { return (item.*Hook).next; }
    [[nodiscard]] static bool linked(const T& item) { return (item.*Hook).linked; }

    void push_back(T& item) {
        ListHook<T>& hook = item.*Hook;
        QANAT_ASSERT(!hook.linked);
        hook = {nullptr, last_, true};
        (last_ != nullptr ? (last_->*Hook).next : first_) = &item;
        last_ = &item;
    }
    // No effect when the item is in no list. It must not be in another list through the same hook.
    void remove(T& item) {
        ListHook<T>& hook = item.*Hook;
        if (!hook.linked) return;
        (hook.previous != nullptr ? (hook.previous->*Hook).next : first_) = hook.next;
        (hook.next != nullptr ? (hook.next->*Hook).previous : last_) = hook.previous;
        hook = {};
    }
    T* pop_front() {
        T* item = first_;
        if (item != nullptr) remove(*item);
        return item;
    }

private:
    T* first_ = nullptr;
    T* last_ = nullptr;
};

}  // namespace qanat::dataplane
