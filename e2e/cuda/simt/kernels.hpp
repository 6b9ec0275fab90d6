#pragma once
using Kernel = void (*)(void** arguments);
Kernel kernel_of(const char* name);
