#pragma once

// process_cpu.h: what a process of this machine has used.
//
// Threads: any; pure functions of /proc.

namespace mqd::bench {

/// User and system time of all threads, in seconds; 0 for a process that cannot be read.
double CpuSecondsOf(int pid);

}  // namespace mqd::bench
