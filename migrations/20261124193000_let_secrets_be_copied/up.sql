-- A value is sealed for one id. A copy has another one, and says here for which it was sealed; null: for its own.
alter table secrets add column sealed_as uuid;
