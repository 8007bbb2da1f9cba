/* graph.h: the wait graph, to the terminal and into a file. */
#ifndef GRAPH_H
#define GRAPH_H

int graph_print(void);                 /* as text, to stdout */
int graph_write_dot(const char *path); /* as DOT, for graphviz; 0, or -1 with the reason printed */

#endif
