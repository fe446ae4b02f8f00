/* Connects before it does anything else: connect ADDRESS PORT. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (argc != 3)
        return 2;
    to.sin_port = htons((unsigned short) atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &to.sin_addr);
    return connect(fd, (struct sockaddr *) &to, sizeof to) != 0;
}
