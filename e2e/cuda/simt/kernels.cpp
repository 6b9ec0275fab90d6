// The kernels as they are, and how a launch finds them.
#include "simt.hpp"
#include "screen.cu"
#include "kernels.hpp"
#include <string>
#include <tuple>
#include <utility>

namespace {
template <class... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
    kernel(*(Parameters*)arguments[I]...);
}
template <auto kernel, class... Parameters> void unpacked(void (*)(Parameters...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<Parameters...>{});
}
template <auto kernel> void body(void** arguments) { unpacked<kernel>(kernel, arguments); }
}  // namespace

Kernel kernel_of(const char* name) {
    if (std::string("best") == name) return &body<&best>;
    if (std::string("above") == name) return &body<&above>;
    return nullptr;
}
