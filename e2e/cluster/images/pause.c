/* What holds a pod's namespaces, and a node's: waits to be told to end, and takes the children that others left. */
#include <signal.h>
#include <sys/wait.h>

int main(void) {
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGTERM);
    sigprocmask(SIG_BLOCK, &awaited, 0);
    for (;;) {
        int signal;
        if (sigwait(&awaited, &signal) != 0)
            return 1;
        if (signal != SIGCHLD)
            return 0;
        while (waitpid(-1, 0, WNOHANG) > 0)
            ;
    }
}
