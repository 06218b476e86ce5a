// Written by `drizzle-sync bundle-migrations` from drizzle: do not edit.
export const migrations = [
  {
    tag: "0000_init",
    when: 1795445256660,
    hash: "11d2bbfe336773ef6c015561873abaf8d6646d9ccdb18c098f35d5e695f619a7",
    statements: [
      "CREATE TABLE `comments` (\n\t`id` text PRIMARY KEY NOT NULL,\n\t`todo_id` text NOT NULL,\n\t`author_id` text NOT NULL,\n\t`body` text NOT NULL,\n\t`created_at` integer NOT NULL,\n\tFOREIGN KEY (`todo_id`) REFERENCES `todos`(`id`) ON UPDATE no action ON DELETE cascade,\n\tFOREIGN KEY (`author_id`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE no action\n);",
      "CREATE INDEX `comments_todo` ON `comments` (`todo_id`);",
      "CREATE TABLE `lists` (\n\t`id` text PRIMARY KEY NOT NULL,\n\t`title` text NOT NULL,\n\t`hue` integer NOT NULL,\n\t`owner_id` text NOT NULL,\n\t`created_at` integer NOT NULL,\n\tFOREIGN KEY (`owner_id`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE no action\n);",
      "CREATE TABLE `members` (\n\t`list_id` text NOT NULL,\n\t`user_id` text NOT NULL,\n\tPRIMARY KEY(`list_id`, `user_id`),\n\tFOREIGN KEY (`list_id`) REFERENCES `lists`(`id`) ON UPDATE no action ON DELETE cascade,\n\tFOREIGN KEY (`user_id`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE cascade\n);",
      "CREATE INDEX `members_user` ON `members` (`user_id`);",
      "CREATE TABLE `todos` (\n\t`id` text PRIMARY KEY NOT NULL,\n\t`list_id` text NOT NULL,\n\t`title` text NOT NULL,\n\t`notes` text DEFAULT '' NOT NULL,\n\t`done` integer DEFAULT false NOT NULL,\n\t`priority` text DEFAULT 'normal' NOT NULL,\n\t`assignee_id` text,\n\t`created_by` text NOT NULL,\n\t`created_at` integer NOT NULL,\n\tFOREIGN KEY (`list_id`) REFERENCES `lists`(`id`) ON UPDATE no action ON DELETE cascade,\n\tFOREIGN KEY (`assignee_id`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE set null,\n\tFOREIGN KEY (`created_by`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE no action\n);",
      "CREATE INDEX `todos_list` ON `todos` (`list_id`);",
      "CREATE TABLE `users` (\n\t`id` text PRIMARY KEY NOT NULL,\n\t`name` text NOT NULL,\n\t`hue` integer NOT NULL,\n\t`email` text\n);",
    ],
  },
];
