#include "simt.hpp"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#ifndef __x86_64__
#error "fibers are switched by a few instructions that are written for x86-64 only"
#endif

// Keeps what a function call must keep on the stack, and goes on with another stack.
extern "C" void simt_switch(void** leave, void* enter);
asm(R"(
.text
.type simt_switch, @function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size simt_switch, . - simt_switch
)");

namespace simt {

thread_local uint3 grid, block, block_index, thread_index;
thread_local unsigned shown[32][16];
thread_local unsigned char* dynamic;

namespace {

constexpr size_t STACK = 64 * 1024;
enum class State { ready, at_warp, at_block, done };

struct Fiber {
    std::unique_ptr<char[]> stack{new char[STACK]};
    void* at = nullptr;
    State state = State::done;
    uint3 index{};
};

thread_local std::vector<Fiber> fibers;
thread_local Fiber* current;
thread_local void* scheduler;
thread_local void (*body)(void**);
thread_local void** arguments;

void leave(State state) {
    current->state = state;
    simt_switch(&current->at, scheduler);
}

void begin() {
    body(arguments);
    leave(State::done);
    abort();
}

void prepare(Fiber& fiber) {
    // What simt_switch pops: six registers, and where to return to, such that the stack is aligned as after a call.
    auto top = ((uintptr_t)fiber.stack.get() + STACK) / 16 * 16 - 64;
    void** words = (void**)top;
    for (int i = 0; i < 6; ++i) words[i] = nullptr;
    words[6] = (void*)&begin;
    words[7] = nullptr;
    fiber.at = words;
    fiber.state = State::ready;
}

void enter(Fiber& fiber) {
    current = &fiber;
    thread_index = fiber.index;
    simt_switch(&scheduler, fiber.at);
}

[[noreturn]] void diverged(const char* where) {
    fprintf(stderr, "simt: threads of one %s wait at different barriers\n", where);
    abort();
}

// Runs a warp until each of its threads has ended or waits for the block.
void run_warp(Fiber** first, size_t count) {
    for (;;) {
        for (size_t i = 0; i < count; ++i)
            if (first[i]->state == State::ready) enter(*first[i]);
        size_t waiting = std::count_if(first, first + count, [](Fiber* f) { return f->state == State::at_warp; });
        if (waiting == 0) return;
        if (waiting != count) diverged("warp");
        for (size_t i = 0; i < count; ++i) first[i]->state = State::ready;
    }
}

void run_block(const std::vector<std::vector<Fiber*>>& warps, size_t threads) {
    for (auto& warp : warps)
        for (Fiber* fiber : warp) prepare(*fiber);
    for (;;) {
        size_t done = 0, waiting = 0;
        for (auto& warp : warps) {
            run_warp(const_cast<Fiber**>(warp.data()), warp.size());
            for (Fiber* fiber : warp) (fiber->state == State::done ? done : waiting) += 1;
        }
        if (done == threads) return;
        if (done > 0) diverged("block");
        for (auto& warp : warps)
            for (Fiber* fiber : warp) fiber->state = State::ready;
    }
}

}  // namespace

void block_barrier() { leave(State::at_block); }
void warp_barrier() { leave(State::at_warp); }

void launch(uint3 grid_, uint3 block_, size_t shared, unsigned order, void (*body_)(void**), void** arguments_) {
    grid = grid_;
    block = block_;
    body = body_;
    arguments = arguments_;
    // Exactly as much as was asked for, and not zero.
    std::unique_ptr<unsigned char[]> asked(new unsigned char[shared]);
    memset(asked.get(), 0xcd, shared);
    dynamic = asked.get();
    size_t threads = (size_t)block.x * block.y * block.z;
    if (fibers.size() < threads) fibers.resize(threads);
    std::vector<std::vector<Fiber*>> warps;
    for (size_t i = 0; i < threads; ++i) {
        fibers[i].index = {(unsigned)(i % block.x), (unsigned)(i / block.x % block.y), (unsigned)(i / block.x / block.y)};
        if (i % 32 == 0) warps.emplace_back();
        warps.back().push_back(&fibers[i]);
    }
    std::mt19937 random(order);
    auto arrange = [&](auto& of) {
        if (order == 1) std::reverse(of.begin(), of.end());
        if (order > 1) std::shuffle(of.begin(), of.end(), random);
    };
    for (auto& warp : warps) arrange(warp);
    arrange(warps);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                block_index = {x, y, z};
                run_block(warps, threads);
            }
}

float widened(uint16_t half) {
    static const std::vector<float> all = [] {
        std::vector<float> all(1 << 16);
        for (unsigned bits = 0; bits < all.size(); ++bits) {
            int exponent = bits >> 10 & 31, fraction = bits & 1023;
            float size = exponent == 0    ? std::ldexp((float)fraction, -24)
                         : exponent == 31 ? (fraction ? NAN : INFINITY)
                                          : std::ldexp((float)(fraction + 1024), exponent - 25);
            all[bits] = bits >> 15 ? -size : size;
        }
        return all;
    }();
    return all[half];
}

}  // namespace simt
