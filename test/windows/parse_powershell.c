// Parses PowerShell files with tree-sitter's grammar and prints each syntax tree in order, one JSON line for each node:
//   parse_powershell FILE...
//   {"file": N, "depth": 0, "type": "program", "line": 1, "column": 1, "start": 0, "end": 12, "wrong": ""}
// file counts from 0, lines and columns (in bytes) from 1; start and end are byte offsets; wrong is "error" for what
// the grammar cannot read, "missing" for what it made up. Exit code 1: a file could not be read or parsed.
// Does not: judge; module_test.py does.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <tree_sitter/api.h>

const TSLanguage* tree_sitter_powershell(void);

// The whole file, to be freed, or NULL with the reason on standard error.
static char* read_file(const char* path, uint32_t* length) {
  FILE* file = fopen(path, "rb");
  char* text = NULL;
  long size = -1;
  if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && size <= INT32_MAX) {
    rewind(file);
    text = malloc((size_t)size + 1);
    if (text != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
      free(text);
      text = NULL;
    }
  }
  if (text == NULL) perror(path);
  if (file != NULL) fclose(file);
  *length = (uint32_t)size;
  return text;
}

static void print_string(const char* text) {
  putchar('"');
  for (; *text != '\0'; ++text) {
    unsigned char c = (unsigned char)*text;
    if (c < 0x20) {
      printf("\\u%04x", c);
    } else {
      if (c == '"' || c == '\\') putchar('\\');
      putchar(c);
    }
  }
  putchar('"');
}

static void print_node(int file, uint32_t depth, TSNode node) {
  const char* wrong = ts_node_is_missing(node) ? "missing" : ts_node_is_error(node) ? "error" : "";
  TSPoint at = ts_node_start_point(node);
  printf("{\"file\": %d, \"depth\": %" PRIu32 ", \"type\": ", file, depth);
  print_string(ts_node_type(node));
  printf(", \"line\": %" PRIu32 ", \"column\": %" PRIu32, at.row + 1, at.column + 1);
  printf(", \"start\": %" PRIu32 ", \"end\": %" PRIu32 ", \"wrong\": \"%s\"}\n", ts_node_start_byte(node),
         ts_node_end_byte(node), wrong);
}

// Depth first, as the text reads.
static void print_tree(int file, const TSTree* tree) {
  TSTreeCursor cursor = ts_tree_cursor_new(ts_tree_root_node(tree));
  bool more = true;
  while (more) {
    print_node(file, ts_tree_cursor_current_depth(&cursor), ts_tree_cursor_current_node(&cursor));
    more = ts_tree_cursor_goto_first_child(&cursor) || ts_tree_cursor_goto_next_sibling(&cursor);
    while (!more && ts_tree_cursor_goto_parent(&cursor)) more = ts_tree_cursor_goto_next_sibling(&cursor);
  }
  ts_tree_cursor_delete(&cursor);
}

int main(int count, char** arguments) {
  TSParser* parser = ts_parser_new();
  if (!ts_parser_set_language(parser, tree_sitter_powershell())) {
    fprintf(stderr, "parse_powershell: the grammar is of another version than the parser\n");
    return 1;
  }
  int status = 0;
  for (int i = 1; i < count; ++i) {
    uint32_t length = 0;
    char* text = read_file(arguments[i], &length);
    TSTree* tree = text == NULL ? NULL : ts_parser_parse_string(parser, NULL, text, length);
    if (tree == NULL) {
      status = 1;
    } else {
      print_tree(i - 1, tree);
      ts_tree_delete(tree);
    }
    free(text);
  }
  ts_parser_delete(parser);
  return status;
}
