/*
 * Datagrams: "serve PORT" answers each with the host's name; "ask ADDRESS PORT [OWN]" sends one, from its own port OWN,
 * and prints the answer or ends with 1.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int main(int count, char **words)
{
	char text[256];
	struct sockaddr_in peer = { .sin_family = AF_INET };
	socklen_t size = sizeof peer;
	int one = socket(AF_INET, SOCK_DGRAM, 0);

	if (count == 3) {
		peer.sin_port = htons(atoi(words[2]));
		if (bind(one, (struct sockaddr *)&peer, sizeof peer) != 0)
			return 1;
		while (recvfrom(one, text, sizeof text, 0, (struct sockaddr *)&peer, &size) >= 0) {
			gethostname(text, sizeof text);
			sendto(one, text, strlen(text), 0, (struct sockaddr *)&peer, size);
		}
		return 1;
	}
	struct timeval patience = { .tv_sec = 2 };
	setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (count == 5) {
		peer.sin_port = htons(atoi(words[4]));
		if (bind(one, (struct sockaddr *)&peer, sizeof peer) != 0)
			return 1;
	}
	peer.sin_port = htons(atoi(words[3]));
	inet_pton(AF_INET, words[2], &peer.sin_addr);
	if (connect(one, (struct sockaddr *)&peer, sizeof peer) != 0 || send(one, "x", 1, 0) != 1)
		return 1;
	ssize_t length = recv(one, text, sizeof text - 1, 0);
	if (length < 0)
		return 1;
	printf("%.*s\n", (int)length, text);
	return 0;
}
